"""Makes clips of real footage from checkouts of public repositories; README.md beside this file lists them.

    python benchmarks/footage/make.py --list
    python benchmarks/footage/make.py CHECKOUTS OUT [--held-out] [CLIP ...]

CHECKOUTS holds the repositories as CHECKOUTS/OWNER/NAME; OUT gets a folder for each clip. Clips that are held
out for a last measurement are made with --held-out only, and then no others: keep them in a folder of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import colmap_clips  # noqa: F401 - these enter their recipes
import depth_cameras  # noqa: F401
import hand_photos  # noqa: F401
import plain_videos  # noqa: F401
import posed_photos  # noqa: F401
import stereo_cameras  # noqa: F401
from clip_files import RECIPES, ClipWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the clips, their sources and licences")
    parser.add_argument("--held-out", action="store_true", help="those held out for a last measurement, and no others")
    parser.add_argument("checkouts", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("clips", nargs="*", help="default: all that are not held out, or all that are")
    given = parser.parse_intermixed_args()  # clips may come after --held-out
    if given.list:
        for recipe in RECIPES.values():
            name = f"{recipe.name} (held out)" if recipe.held_out else recipe.name
            print(f"{name}\n  {recipe.licence}", *recipe.sources, sep="\n  ")
        return
    if given.out is None:
        parser.error("CHECKOUTS and OUT are needed")
    if unknown := sorted(set(given.clips) - set(RECIPES)):
        parser.error(f"no recipe for {', '.join(unknown)}; there are: {', '.join(RECIPES)}")
    if wrong := [name for name in given.clips if RECIPES[name].held_out != given.held_out]:
        parser.error(f"{', '.join(wrong)}: {'not held out' if given.held_out else 'held out; give --held-out'}")
    for name in given.clips or [name for name, recipe in RECIPES.items() if recipe.held_out == given.held_out]:
        recipe = RECIPES[name]
        folders = [given.checkouts / source.partition("@")[0] for source in recipe.sources]
        if missing := [str(folder) for folder in folders if not folder.is_dir()]:
            print(f"{name}: left out, there is no {', '.join(missing)}")
            continue
        clip = ClipWriter(given.out / name)
        recipe.make(clip, *folders)
        print(f"{name}: {clip.count} frames")


if __name__ == "__main__":
    main()

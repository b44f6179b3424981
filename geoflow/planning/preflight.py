"""Checks before work starts, so that faults are not found hours later.

There are GPUs, weights are whole, and remote places can be read and written from every node.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from geoflow.backends import weights
from geoflow.backends.pins import pin
from geoflow.cluster.session import Capacity, on_every_node
from geoflow.environments import checking
from geoflow.errors import ConfigError, InputError
from geoflow.files import locations
from geoflow.pipeline import WRITER, Pipeline
from geoflow.store.delivery import deliver_kept
from geoflow.store.paths import RunPaths
from geoflow.values.plain import printable
from geoflow.video import camera_files

Needs = list[tuple[str, str, dict[str, str]]]  # slot, backend, what it needs: see `Stage.weights`


def check(pipeline: Pipeline, has: Capacity, *, alone: bool) -> None:
    """Raise ConfigError if stages cannot start here; `alone`: only this machine is used, and no node can join.

    Missing weights are not an error if they can be fetched: the first actor that needs them fetches them.
    """
    if alone and not has.gpus:
        _refuse_gpu_stages(pipeline)
    needs = _needs(pipeline)
    if not needs:
        return
    here = _contents(needs)
    for where, (found, held) in [("this machine", _look(needs))] if alone else on_every_node(_look, needs):
        others = [
            f"{slot}: {identity} is another file there, found {held.get(slot)}; results depend on its content: copy "
            "this machine's to every node"
            for slot, identity in here.items()
            if held.get(slot) != identity
        ]
        if found or others:
            raise ConfigError(f"weights on {where}:\n" + "\n".join(f"  {line}" for line in found or others))


def _refuse_gpu_stages(pipeline: Pipeline) -> None:
    wanted = [spec.slot for spec in pipeline.stages if spec.num_gpus and not spec.optional]
    if wanted:
        raise ConfigError(
            f"pipeline {pipeline.name!r} needs a GPU for {', '.join(wanted)}, and this machine has none; "
            f"{without_gpus(wanted)}"
        )


def without_gpus(slots: list[str]) -> str:
    """Return what to do if stages need a GPU and there is none."""
    settings = " ".join(f"--set {slot}.num_gpus=0" for slot in slots)
    return f"join a cluster that has GPUs (--address), or compute on CPUs: {settings}"


def _needs(pipeline: Pipeline) -> Needs:
    stages = ((spec, spec.make_stage().weights()) for spec in pipeline.stages if not spec.optional)
    return [(spec.slot, spec.backend, needs) for spec, needs in stages if needs]


def _look(needs: Needs) -> tuple[list[str], dict[str, str]]:
    return faults(needs), _contents(needs)


def _contents(needs: Needs) -> dict[str, str]:
    """Return the identity of the files that only the user can get, by slot: the same must lie on every node."""
    found = {}
    for slot, backend, wanted in needs:
        sources = [pin(backend, name) for name, own in wanted.items() if not own]
        if held := [source.identity for source in sources if not source.fetchable]:
            found[slot] = ", ".join(held)
    return found


def faults(needs: Needs) -> list[str]:
    """Return what is wrong with stages' weights on this machine: broken, or missing and not to be fetched."""
    excuse = weights.within_reach(
        source for _, backend, wanted in needs for source in weights.must_fetch(backend, wanted)
    )
    return [
        f"{slot}: {line}"
        for slot, backend, wanted in needs
        for line in weights.problems(backend, wanted, excuse=excuse)
    ]


def check_makes_stores(pipeline: Pipeline) -> None:
    """Raise ConfigError for a pipeline that would work for nothing: it reads no frames, or writes no store."""
    backends = {spec.slot: spec.backend for spec in pipeline.stages}
    for slot, own, what in (
        ("decode", "geoflow.stages.decode", "reads the frames"),
        ("write", WRITER, "writes stores"),
    ):
        if slot not in backends:
            raise ConfigError(
                f"pipeline {pipeline.name!r} has no stage {slot}, which {what}: add {{slot: {slot}, backend: {own}}}"
            )


def check_environments(pipeline: Pipeline) -> None:
    """Raise ConfigError for environments that can never be built."""
    for name in dict.fromkeys(spec.env for spec in pipeline.stages if spec.env):
        if found := checking.faults(name):
            raise ConfigError(f"environment {name}: {'; '.join(found)}")


def check_out(paths: RunPaths, sources: Sequence[str]) -> None:
    """Raise ConfigError if OUT is one of the inputs, or has a name that its own records could not hold."""
    if paths.home != printable(paths.home):
        raise ConfigError(f"-o {printable(paths.home)} has a name that is not UTF-8 text; name another folder")
    if paths.remote:
        return
    out = os.path.realpath(paths.root)
    if any(os.path.realpath(locations.local(s)) == out for s in sources if not locations.is_remote(s)):
        raise ConfigError(f"-o {paths.home} is one of the inputs; name another folder, which may lie inside it")


def check_masks(masks: str | None, names: Sequence[str]) -> None:
    """Raise ConfigError if no video can have masks; a single video that lacks its masks fails by itself."""
    if masks is None:
        return
    if not os.path.isdir(masks):
        raise ConfigError(
            f"--masks {masks} should be a folder with a folder of masks per video; there is no such folder"
        )
    if not any(os.path.isdir(os.path.join(masks, name)) for name in names):
        raise ConfigError(
            f"--masks {masks} holds no folder for any of the videos; expected such as {os.path.join(masks, names[0])}"
        )


def check_cameras(cameras: str | None, names: Sequence[str]) -> None:
    """Raise ConfigError when no video can have known cameras; a single one that lacks its own fails by itself.

    Raises InputError when there is one video, and its cameras cannot be read.
    """
    if cameras is None:
        return
    if not os.path.exists(cameras):
        raise ConfigError(f"--cameras {cameras} does not exist; name a local file, or a folder with one per video")
    if camera_files.is_one_video(cameras):
        if len(names) > 1:
            raise ConfigError(
                f"--cameras {cameras} is of one video, but there are {len(names)}; make a folder that holds one per "
                f"video, such as {names[0]}.txt"
            )
        camera_files.read(cameras, names[0])
    elif not any(_has_cameras(cameras, name) for name in names):
        raise ConfigError(
            f"--cameras {cameras} holds nothing for any of the videos; expected such as {names[0]}.txt (TUM), "
            f"{names[0]}.h5 (GeoFlow), pose/{names[0]}.npz (ViPE), or a folder {names[0]} with a COLMAP model"
        )


def _has_cameras(cameras: str, name: str) -> bool:
    try:
        return camera_files.find(cameras, name) is not None
    except InputError:  # more than one: reported when they are read
        return True


def check_places(paths: RunPaths, sources: Sequence[str]) -> None:
    """Raise ConfigError if inputs or output cannot be read or written from this machine."""
    locations.require_packages([*sources, paths.remote] if paths.remote else sources)
    if paths.remote:
        locations.check_writable(paths.remote)


def check_places_everywhere(
    paths: RunPaths, sources: Sequence[str], *, alone: bool, resume: bool = True
) -> dict[str, str]:
    """Check the same on every node, with its own packages and credentials; return what cannot be uploaded, and why.

    With `resume`, stores that earlier runs left are uploaded. The result names the videos whose stores still cannot be.
    """
    schemes = list({locations.scheme(source): source for source in sources if locations.is_remote(source)}.values())
    if not (schemes or paths.remote):
        return {}
    here = [("this machine", _node(paths, schemes, resume))] if alone else on_every_node(_node, paths, schemes, resume)
    kept: dict[str, str] = {}
    for where, (fault, failed) in here:
        if fault:
            raise ConfigError(f"{where}: {fault}")
        kept |= failed
    return kept


def _node(paths: RunPaths, sources: Sequence[str], resume: bool) -> tuple[str, dict[str, str]]:
    try:
        check_places(paths, sources)
    except ConfigError as error:
        return str(error), {}
    return "", deliver_kept(paths) if paths.remote and resume else {}

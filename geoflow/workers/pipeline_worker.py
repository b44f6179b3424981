"""A worker that runs a pipeline on a video, as `geoflow run` does, for programs that know another program's options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from geoflow.errors import InputError, StageError
from geoflow.workers.declaration import BackendWorker


class PipelineWorker(BackendWorker):
    """Has no model of its own: the pipeline's stages load theirs, each in its environment.

    `--set SLOT.PARAM=VALUE` on the command line is the pipeline's, and counts after the worker's own settings.
    """

    needs_model: ClassVar[bool] = False

    def run(
        self, video: Path, out: Path, pipeline: str, settings: Mapping[str, Any], flags: Sequence[str] = ()
    ) -> Path:
        """Run a pipeline on one video into a folder, and return the video's store; what is finished there is kept.

        Settings that are None stay as the pipeline has them. Raises InputError if the video cannot be used, StageError
        if the run does not complete it.
        """
        stated = [f"{name}={json.dumps(value)}" for name, value in settings.items() if value is not None]
        sets = [word for setting in [*stated, *self.settings] for word in ("--set", setting)]
        command = [sys.executable, "-m", "geoflow", "run", str(video), "-o", str(out), "--pipeline", pipeline]
        self.log(f"pipeline {pipeline} on {video}, into {out}")
        done = subprocess.run([*command, "--json", *flags, *sets], stdout=subprocess.PIPE, text=True)
        if done.returncode == 2:
            raise InputError("the pipeline cannot run so; the reason is above")
        found = _last_json(done.stdout)
        stores = [row.get("path") for row in found.get("videos", []) if row.get("status") == "complete"]
        if done.returncode or len(stores) != 1 or not stores[0]:
            raise StageError(
                f"{video} was not completed (exit status {done.returncode}); `geoflow status {out}` says why"
            )
        return Path(stores[0])


def _last_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""The bench of faults: what it accepts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from geoflow.bench.faults.fault_bench import fingerprint, judge

SAME = {"a": "x", "b": "y"}
WHOLE = {"a": ["complete", ""], "b": ["complete", ""]}


def test_every_input_must_be_there_with_the_same_bits() -> None:
    assert judge("kill", WHOLE, SAME, SAME) == "complete, identical"
    assert judge("kill", {"a": ["complete", ""]}, SAME, SAME).startswith("WRONG")
    assert judge("kill", WHOLE, {**SAME, "b": "z"}, SAME).startswith("WRONG")
    assert judge("kill", WHOLE, {"a": "x"}, SAME).startswith("WRONG")


def test_out_of_memory_may_change_the_level_and_nothing_else() -> None:
    before, after = {"a": "x/0", "b": "y/0"}, {"a": "x/1", "b": "y/0"}
    assert judge("memory", WHOLE, after, before) == "complete, identical"
    assert judge("memory", WHOLE, {**after, "b": "z/0"}, before).startswith("WRONG")
    assert judge("kill", WHOLE, after, before).startswith("WRONG")


def test_a_poison_segment_must_fail_its_video_by_name() -> None:
    named = {"a": ["complete", ""], "b": ["failed", "prior failed on b[6:14]: RuntimeError"]}
    assert judge("poison", named, {"a": "x"}, SAME) == "b failed with its reason, a identical"
    assert judge("poison", WHOLE, SAME, SAME).startswith("WRONG")
    assert judge("poison", {**named, "b": ["failed", ""]}, {"a": "x"}, SAME).startswith("WRONG")


def test_a_fingerprint_is_of_the_data_and_not_of_the_time(tmp_path: Path) -> None:
    def store(name: str, value: float, seconds: float) -> str:
        with h5py.File(tmp_path / name, "w") as file:
            file["depth"] = np.full((2, 3), value)
            file["segments"] = np.array([(0, seconds)], dtype=[("start", "i4"), ("seconds_prior", "f4")])
        return fingerprint(tmp_path / name)

    assert store("a", 1.0, 2.0) == store("b", 1.0, 9.0) != store("c", 1.5, 2.0)

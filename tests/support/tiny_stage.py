"""A stage that needs a package of its own as soon as it is loaded, and not before."""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.stage import Stage, param


class Tiny(Stage):
    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        answer: int = param(42, "what the package should say")

    def setup(self) -> None:
        import geoflow_tiny

        if self.params.answer != geoflow_tiny.ANSWER:
            raise ValueError(f"the answer is {geoflow_tiny.ANSWER}")


class Other(Tiny):
    """One that does not go together with the package."""

    @dataclass(frozen=True)
    class Params(Stage.Params):
        answer: int = param(41, "what the package should say")

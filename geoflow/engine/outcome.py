"""The outcome of a call: a worker's answer, or the reason that Ray reports for a missing answer, in one form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.schedule import Kind

_PROBE_S = 1.0
_INLINE_BYTES = 100 * 1024  # Ray keeps smaller results in the driver, where they are not lost with a node


@dataclass(frozen=True)
class Failure:
    """The reason why a call gave no result."""

    kind: Kind
    message: str
    traceback: str = ""
    exception: Any = None  # Ray's own, if the worker gave no answer

    @property
    def is_environments(self) -> bool:
        """Return whether an actor did not start because of its environment: it could not be built, or GeoFlow does not
        start in it."""
        by_ray = self.exception is not None and "creation task" in self.message
        return by_ray or self.kind is Kind.ENVIRONMENT


@dataclass(frozen=True)
class Outcome:
    """The outcome of one segment's share of a call, of a survey, or of a call without segments.

    `value` is what a call gave besides arrays: where an actor runs (load), what is known about a video (probe), plain
    values for the run's record (finish), or plain values saved beside arrays (restore).
    """

    failure: Failure | None = None
    value: Any = None
    began: float | None = None  # s since the epoch, by the clock of the worker's node; None without an answer
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: dict[str, int] = field(default_factory=dict)  # name of each output -> its size
    private_bytes: int | None = None  # memory of the worker; None if not measured
    gpu_peak: int | None = None  # bytes; None if not measured
    gpu_total: int | None = None
    saved_bytes: int | None = None  # None: nothing was to be saved
    save_seconds: float | None = None
    unsaved: str = ""  # why results could not be saved

    @property
    def size(self) -> int:
        """Return the bytes of all outputs."""
        return sum(self.bytes.values())


def outcome_of(ref: Any) -> Outcome:
    """Return the small answer behind a ref as an Outcome. Any other object becomes its `value`, an error of Ray its
    `failure`."""
    import ray

    try:
        answer = ray.get(ref)
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.OutOfDiskError) as error:
        return _failed(Kind.MEMORY, str(error), error)
    except ray.exceptions.RuntimeEnvSetupError as error:
        return _failed(Kind.ENVIRONMENT, str(error), error)
    except ray.exceptions.TaskCancelledError as error:
        return _failed(Kind.CANCELLED, str(error), error)
    except _lost() as error:  # an argument, or the answer itself, was lost with its node
        return _failed(Kind.LOST, f"{type(error).__name__}: {error}", error)
    except ray.exceptions.RayTaskError as error:  # the call itself could not be made
        if isinstance(error.cause, _lost()):
            return _failed(Kind.LOST, str(error.cause), error)
        return _failed(Kind.STAGE, str(error.cause), error, traceback=str(error))
    except ray.exceptions.RayError as error:
        return _failed(Kind.DIED, f"{type(error).__name__}: {error}", error)
    return answer if isinstance(answer, Outcome) else Outcome(value=answer)


def _failed(kind: Kind, message: str, exception: BaseException, traceback: str = "") -> Outcome:
    return Outcome(Failure(kind, message, traceback, exception))


def still_there(ref: Any) -> bool:
    """Return whether an object can still be read. Called only after a loss: it may take a moment."""
    import ray

    try:
        ready, _ = ray.wait([ref], timeout=_PROBE_S, fetch_local=False)
        if not ready:
            return False
        found = ray.experimental.get_object_locations([ref])[ref]
        return bool(found["node_ids"]) or not found["object_size"] or found["object_size"] < _INLINE_BYTES
    except ray.exceptions.RayError:
        return False


def _lost() -> tuple[type[BaseException], ...]:
    from ray import exceptions

    return (exceptions.ObjectLostError, exceptions.ObjectFetchTimedOutError, exceptions.OwnerDiedError)

"""What came of a call: a worker's answer, or Ray's word on why there is none, in one form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.schedule import Kind

_PROBE_S = 1.0
_INLINE_BYTES = 100 * 1024  # Ray keeps smaller results in the driver, where no node can take them down


@dataclass(frozen=True)
class Failure:
    """Why a call gave nothing."""

    kind: Kind
    message: str
    traceback: str = ""
    exception: Any = None  # Ray's own, where the worker said nothing

    @property
    def is_environments(self) -> bool:
        """Whether an actor did not come up for its environment's sake: it could not be built, or GeoFlow does not start
        in it."""
        return self.exception is not None and (self.kind is Kind.ENVIRONMENT or "creation task" in self.message)


@dataclass(frozen=True)
class Outcome:
    """What came of one segment's share of a call, of a survey, or of a call that is about no segment.

    `value` is what a call gave besides arrays: where an actor lives (load), what was found out about a video (probe),
    plain values for the run's record (finish), what was saved beside arrays (restore).
    """

    failure: Failure | None = None
    value: Any = None
    began: float | None = None  # s since the epoch, by the clock of the worker's node; None without an answer
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: dict[str, int] = field(default_factory=dict)  # name of each output -> its size
    private_bytes: int | None = None  # memory of the worker, where it looked
    gpu_peak: int | None = None  # bytes, where that was asked for
    gpu_total: int | None = None
    saved_bytes: int | None = None  # None: nothing was to be saved
    save_seconds: float | None = None
    unsaved: str = ""  # why what was to be saved could not be

    @property
    def size(self) -> int:
        """Bytes of all outputs."""
        return sum(self.bytes.values())


def outcome_of(ref: Any) -> Outcome:
    """The small answer behind a ref: an Outcome as it is, anything else as the `value` of one, Ray's errors as its
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
    except _lost() as error:  # an argument, or the answer itself, went down with its node
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
    """Whether an object can still be read. Only asked after something was found lost: it may take a moment."""
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

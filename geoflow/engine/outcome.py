"""What came of a call: a worker's answer, or Ray's word on why there is none, in one form."""

from __future__ import annotations

from typing import Any

from geoflow.engine.schedule import Kind

_PROBE_S = 1.0
_INLINE_BYTES = 100 * 1024  # Ray keeps smaller results in the driver, where no node can take them down


def outcome_of(ref: Any) -> Any:
    """The small answer behind a ref; what Ray raises becomes {"error": {"kind", "message", "exception", ...}}."""
    import ray

    try:
        return ray.get(ref)
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.OutOfDiskError) as error:
        return {"error": {"kind": Kind.MEMORY, "message": str(error), "exception": error}}
    except ray.exceptions.RuntimeEnvSetupError as error:
        return {"error": {"kind": Kind.ENVIRONMENT, "message": str(error), "exception": error}}
    except ray.exceptions.TaskCancelledError as error:
        return {"error": {"kind": Kind.CANCELLED, "message": str(error), "exception": error}}
    except _lost() as error:  # an argument, or the answer itself, went down with its node
        return {"error": {"kind": Kind.LOST, "message": f"{type(error).__name__}: {error}", "exception": error}}
    except ray.exceptions.RayTaskError as error:  # the call itself could not be made
        if isinstance(error.cause, _lost()):
            return {"error": {"kind": Kind.LOST, "message": str(error.cause), "exception": error}}
        return {"error": {"kind": Kind.STAGE, "message": str(error.cause), "traceback": str(error), "exception": error}}
    except ray.exceptions.RayError as error:
        return {"error": {"kind": Kind.DIED, "message": f"{type(error).__name__}: {error}", "exception": error}}


def is_at_fault(error: dict[str, Any]) -> bool:
    """Whether an actor did not come up for its environment's sake: it could not be built, or GeoFlow does not start in
    it. `error` is that of `outcome_of`."""
    return "exception" in error and (error["kind"] == Kind.ENVIRONMENT or "creation task" in error["message"])


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

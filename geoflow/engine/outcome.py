"""What came of a call: a worker's answer, or Ray's word on why there is none, in one form."""

from __future__ import annotations

from typing import Any

from geoflow.engine.schedule import Kind


def outcome_of(ref: Any) -> dict[str, Any]:
    """The small dictionary behind a ref; what Ray raises becomes {"error": {"kind", "message", "exception", ...}}."""
    import ray

    try:
        return ray.get(ref)
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.OutOfDiskError) as error:
        return {"error": {"kind": Kind.MEMORY, "message": str(error), "exception": error}}
    except ray.exceptions.RuntimeEnvSetupError as error:
        return {"error": {"kind": Kind.ENVIRONMENT, "message": str(error), "exception": error}}
    except ray.exceptions.TaskCancelledError as error:
        return {"error": {"kind": Kind.CANCELLED, "message": str(error), "exception": error}}
    except ray.exceptions.RayTaskError as error:  # the call itself could not be made, e.g. its arguments are lost
        return {"error": {"kind": Kind.STAGE, "message": str(error.cause), "traceback": str(error), "exception": error}}
    except ray.exceptions.RayError as error:
        return {"error": {"kind": Kind.DIED, "message": f"{type(error).__name__}: {error}", "exception": error}}

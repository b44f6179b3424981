"""The token that clusters ask for in recent versions of Ray; `ray.init` sends it only if $RAY_AUTH_MODE says so."""

from __future__ import annotations

import os

from geoflow.errors import ConfigError

_MODE = "RAY_AUTH_MODE"
_HAVE_IT = "have the cluster's in $RAY_AUTH_TOKEN or ~/.ray/auth_token (on its head, `ray get-auth-token` shows it)"


def token_for(place: str) -> str:
    """Return this machine's token for clusters. Raises ConfigError if there is none, or it must not be sent."""
    if os.environ.get(_MODE, "token").lower() != "token":
        raise ConfigError(
            f"the cluster at {place} asks for a token, which {_MODE}={os.environ[_MODE]} forbids; unset it"
        )
    try:
        from ray._raylet import AuthenticationTokenLoader

        token = AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True)
    except (ImportError, AttributeError, RuntimeError):  # an older Ray, without tokens
        token = ""
    if not token:
        raise ConfigError(f"the cluster at {place} asks for a token, and this machine has none; {_HAVE_IT}")
    return str(token)


def refused_token(place: str) -> str:
    """Return the message for a cluster that does not accept this machine's token."""
    return f"{place} refused the token; {_HAVE_IT}"


def send_token() -> None:
    """Make Ray send the token from now on, in this process and in the processes that it starts."""
    os.environ[_MODE] = "token"
    from ray._raylet import Config

    Config.initialize("")  # Ray has read its settings already

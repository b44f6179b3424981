"""The token that a cluster of today's Ray wants; `ray.init` sends it only where $RAY_AUTH_MODE says so."""

from __future__ import annotations

import os

from geoflow.errors import ConfigError

_MODE = "RAY_AUTH_MODE"
_HAVE_IT = "have the cluster's in $RAY_AUTH_TOKEN or ~/.ray/auth_token (on its head, `ray get-auth-token` shows it)"


def token_for(place: str) -> str:
    """The token that this machine has for clusters. Raises ConfigError when there is none, or it must not be sent."""
    if os.environ.get(_MODE, "token").lower() != "token":
        raise ConfigError(f"the cluster at {place} wants a token, which {_MODE}={os.environ[_MODE]} forbids; unset it")
    try:
        from ray._raylet import AuthenticationTokenLoader

        token = AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True)
    except (ImportError, AttributeError, RuntimeError):  # a Ray that knows none yet
        token = ""
    if not token:
        raise ConfigError(f"the cluster at {place} wants a token, and there is none here; {_HAVE_IT}")
    return str(token)


def refused_token(place: str) -> str:
    """What to say when a cluster does not take this machine's token."""
    return f"{place} refused the token; {_HAVE_IT}"


def send_token() -> None:
    """Have Ray send the token from now on, from this process and those that it starts."""
    os.environ[_MODE] = "token"
    from ray._raylet import Config

    Config.initialize("")  # Ray has read its settings already

"""Checks before a job is submitted: what listens at the address, and whether it asks for a token."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from geoflow.cluster.auth_token import refused_token, send_token, token_for
from geoflow.cluster.joining import ANSWERS_S, is_host, within
from geoflow.errors import ConfigError

_WANTED = "give its address with --address as http://HOST:PORT (the port of Ray's dashboard, 8265)"


def knock(address: str) -> str:
    """Return the address of a job server that answers, with its scheme; give Ray the token if the server asks for one.

    Raises ConfigError that says what is wrong with the address, or with the server behind it.
    """
    address = address.strip()
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # the port is not a number
        known = False
    if not known or address == "auto":
        raise ConfigError(f"{address!r} is not the address of a job server; {_WANTED}")
    reply, headers = _ask(url, {}), {}
    if reply.status_code in (401, 403):
        headers = {"Authorization": f"Bearer {token_for(url)}"}
        reply = _ask(url, headers)
        if reply.status_code in (401, 403):
            raise ConfigError(refused_token(url))
    if not _is_of_ray(reply):
        raise ConfigError(f"no job server answers at {url}: something else listens there; {_WANTED}")
    if headers:
        send_token()
    return url


def _ask(url: str, headers: dict[str, str]) -> Any:
    import requests

    try:
        return within(ANSWERS_S, lambda: requests.get(f"{url}/api/version", headers=headers, timeout=ANSWERS_S))
    except (TimeoutError, requests.Timeout):
        raise ConfigError(f"no job server answers at {url} within {ANSWERS_S:g} s; {_WANTED}") from None
    except (requests.RequestException, UnicodeError) as error:
        raise ConfigError(
            f"no job server answers at {url}: {_cause(error)}; {_WANTED}, start one with `ray start --head`, or "
            "forward the port of your cluster's dashboard"
        ) from None


def _cause(error: Exception) -> str:
    text = str(error)
    if "NameResolution" in text or "Name or service" in text:
        return "no host has this name"
    return "nothing listens there" if "refused" in text else "something else listens there, or it cannot be reached"


def _is_of_ray(reply: Any) -> bool:
    try:
        return reply.ok and "ray_version" in reply.json()
    except ValueError:
        return False

"""Checks before a cluster is joined: is the address valid, what listens there, does it fit, does it ask for a token.

Ray itself would wait for minutes, log many lines, and give the same reason for all of these. Here each cause is found
within seconds, and an interrupt ends the waiting.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from geoflow.cluster.auth_token import refused_token, send_token, token_for
from geoflow.errors import ConfigError

ANSWERS_S = 2.5  # for an answer from an address; a head that can be reached needs a fraction of this
_ALONE = "leave the address out to start a local Ray for this run"
_START = f"start one with `ray start --head --port=6379`, or {_ALONE}"

T = TypeVar("T")


def knock(address: str) -> str:
    """Return the address of a cluster that can be joined from here, as HOST:PORT; give Ray the token if it asks for
    one.

    Raises ConfigError that says what is wrong with the address, or with the cluster behind it.
    """
    if address == "auto":
        address = _address_of_this_machine()
    host, port = parse(address)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _reach(host, port, place)
    if os.environ.get("RAY_USE_TLS", "").lower() not in ("1", "true"):  # with TLS, Ray itself checks its certificates
        _examine(_Head(place))
    return place


def parse(address: str) -> tuple[str, int]:
    """Return host and port of the head's address.

    >>> parse("node-1:6379"), parse(" [fd00::2]:6379 ")
    (('node-1', 6379), ('fd00::2', 6379))

    Raises ConfigError for anything else, with the address that may have been meant.
    """
    address = address.strip()
    wanted = "write it as HOST:PORT, such as 10.0.0.1:6379"
    scheme, found, rest = address.partition("://")
    if found:
        meant = {
            "ray": f"is an address of Ray's client, where no run works; on a node of the cluster, give its head as "
            f"{rest.partition(':')[0]}:6379; from elsewhere, use `geoflow submit`",
            "http": "is the address of a job server; use `geoflow submit --address` with it",
            "https": "is the address of a job server; use `geoflow submit --address` with it",
        }
        raise ConfigError(f"address {address!r} {meant.get(scheme, f'is not the address of a Ray cluster; {wanted}')}")
    host, colon, port = address.rpartition(":")
    if address.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host and set(host.lower()) <= set("0123456789abcdef:."):
        raise ConfigError(f"address {address!r}: an IPv6 address needs brackets before its port, as in [fd00::1]:6379")
    if not colon and is_host(address) and not address.isdigit():
        raise ConfigError(f"address {address!r} has no port; write {address}:6379, or the head's own port")
    if not is_host(host) or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"address {address!r} is not the address of a Ray cluster; {wanted}")
    return host, int(port)


def is_host(host: str) -> bool:
    """Return whether a text can be a host name or an IP address."""
    return bool(host) and host.isascii() and all(sign.isalnum() or sign in ".-_:%" for sign in host)


def within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function; return or raise what it does, or raise TimeoutError if it takes too long.

    An interrupt ends the waiting at once. Without the thread it would not, for instance while a library looks up a
    name.
    """
    answers: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

    def ask() -> None:
        try:
            answers.put((function(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=ask, name="geoflow-knock", daemon=True).start()
    try:
        found, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def _address_of_this_machine() -> str:
    from ray._private import services

    try:
        found = within(2 * ANSWERS_S, lambda: services.get_ray_address_from_environment("auto", None))
    except ConnectionError:
        found = None
    if not found or found == "auto":
        raise ConfigError(f"address 'auto': no Ray cluster runs on this machine; {_START}")
    return str(found)


def _reach(host: str, port: int, place: str) -> None:
    try:
        within(ANSWERS_S, lambda: socket.create_connection((host, port), ANSWERS_S).close())
    except socket.gaierror:
        raise ConfigError(f"no Ray cluster at {place}: no host has the name {host}") from None
    except TimeoutError:
        raise ConfigError(
            f"no Ray cluster at {place}: no answer within {ANSWERS_S:g} s; "
            "check that the host is up and the port is open to this machine"
        ) from None
    except ConnectionRefusedError:
        raise ConfigError(f"no Ray cluster at {place}: nothing listens there; {_START}") from None
    except OSError as error:
        raise ConfigError(f"no Ray cluster at {place}: {error.strerror or error}") from None


class _Head:
    """The head's control service, asked directly: Ray's own client logs, waits and retries."""

    def __init__(self, place: str) -> None:
        import grpc

        self.place, self._token = place, ""
        # Ray connects to its nodes without any proxy; so does this.
        self._channel = grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)])

    def ask(self, service: str, call: str, **fields: Any) -> Any:
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

        stub = getattr(gcs_service_pb2_grpc, f"{service}Stub")(self._channel)
        request = getattr(gcs_service_pb2, f"{call}Request")(**fields)
        metadata = [("authorization", f"Bearer {self._token}")] if self._token else []
        return getattr(stub, call)(request, timeout=ANSWERS_S, metadata=metadata)

    def use(self, token: str) -> None:
        self._token = token

    def close(self) -> None:
        self._channel.close()


def _examine(head: _Head) -> None:
    import grpc

    try:
        _present_ourselves(head)
        _check_versions(head)
        _check_that_it_is_here(head)
    except grpc.RpcError as error:
        told = f"{error.code().name.lower().replace('_', ' ')}: {error.details()}" if hasattr(error, "code") else error
        raise ConfigError(f"the Ray cluster at {head.place} does not answer as expected ({told})") from None
    finally:
        head.close()


def _present_ourselves(head: _Head) -> None:
    """Ask the head for its id, with the token if it asks for one.

    Raises ConfigError if it is not a head, or refuses the token.
    """
    import grpc

    for token in ("", None):
        if token is None:
            head.use(token_for(head.place))
        try:
            head.ask("NodeInfoGcsService", "GetClusterId")
            if token is None:
                send_token()
            return
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                continue
            who = {
                grpc.StatusCode.DEADLINE_EXCEEDED: f"what listens there gives no answer within {ANSWERS_S:g} s",
                grpc.StatusCode.UNIMPLEMENTED: "something else listens there, such as Ray's client server",
            }.get(error.code(), "something else listens there")
            raise ConfigError(
                f"no Ray cluster at {head.place}: {who}; give the port of its head (6379, or what `ray start --head "
                "--port` was given)"
            ) from None
    raise ConfigError(refused_token(head.place))


def _check_versions(head: _Head) -> None:
    """Raise ConfigError if the cluster has another version of Ray or Python, which Ray does not allow."""
    import ray

    reply = head.ask("InternalKVGcsService", "InternalKVGet", namespace=b"cluster", key=b"CLUSTER_METADATA")
    if not reply.value:
        return
    theirs = json.loads(reply.value)
    python = platform.python_version()
    digits = 2 if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor" else 3
    same_python = theirs["python_version"].split(".")[:digits] == python.split(".")[:digits]
    if theirs["ray_version"] != ray.__version__ or not same_python:
        raise ConfigError(
            f"the cluster at {head.place} has Ray {theirs['ray_version']} and Python {theirs['python_version']}, here "
            f"are Ray {ray.__version__} and Python {python}: they must be the same; install the cluster's versions, or "
            "submit the run with `geoflow submit`"
        )


def _check_that_it_is_here(head: _Head) -> None:
    """Raise ConfigError if this machine is not a node of the cluster: a driver needs a raylet on its own machine."""
    nodes = [row for row in head.ask("NodeInfoGcsService", "GetAllNodeInfo").node_info_list if row.state == 0]
    if nodes and not any(os.path.exists(row.raylet_socket_name) for row in nodes):
        names = ", ".join(sorted({row.node_manager_hostname or row.node_manager_address for row in nodes})[:4])
        raise ConfigError(
            f"this machine is not a node of the cluster at {head.place} (which has {names}): run on one of them, let "
            f"this machine join with `ray start --address={head.place}`, or submit the run with `geoflow submit`"
        )

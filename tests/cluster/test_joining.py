"""Addresses of clusters and job servers: what is wrong with one is said within seconds. Heads are pretended."""

from __future__ import annotations

import http.server
import json
import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from ray_head import free_port

from geoflow.cluster import job_server, joining, session
from geoflow.errors import ConfigError

TOKEN = "a" * 64
WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody who has no token and has set nothing; returns to whom Ray would send one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    sent: list[str] = []
    for module in (joining, job_server):
        monkeypatch.setattr(module, "send_token", lambda: sent.append("sent"))
    has_token(monkeypatch, "")
    return sent


def has_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    from ray import _raylet

    class Loader:
        @classmethod
        def instance(cls) -> Loader:
            return cls()

        def get_raw_token(self, ignore_auth_mode: bool = False) -> str:
            return token

    monkeypatch.setattr(_raylet, "AuthenticationTokenLoader", Loader)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("not an address", "is not the address of a Ray cluster; write it as HOST:PORT"),
        ("127.0.0.1", "has no port; write 127.0.0.1:6379"),
        ("6379", "is not the address of a Ray cluster"),
        ("head:", "is not the address of a Ray cluster"),
        (":6379", "is not the address of a Ray cluster"),
        ("head:port", "is not the address of a Ray cluster"),
        ("head:0", "is not the address of a Ray cluster"),
        ("head:65536", "is not the address of a Ray cluster"),
        ("head:²", "is not the address of a Ray cluster"),
        ("me:secret@head:6379", "is not the address of a Ray cluster"),
        ("fd00::1:6379", "needs brackets before its port"),
        ("::1", "needs brackets before its port"),
        (
            "ray://head:10001",
            "is an address of Ray's client.* give its head as head:6379; from elsewhere, use `geoflow submit`",
        ),
        ("https://head:8265", "is the address of a job server; use `geoflow submit --address`"),
        ("redis://head:6379", "is not the address of a Ray cluster"),
        ("\x00:1", "is not the address of a Ray cluster"),
    ],
)
def test_what_is_no_address_is_said(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        joining.knock(address)


def test_what_is_an_address_is_understood() -> None:
    assert joining.parse(" 10.0.0.1:6379\n") == ("10.0.0.1", 6379)
    assert joining.parse("a-b.c_d.example:1") == ("a-b.c_d.example", 1)
    assert joining.parse("[fe80::1%eth0]:6379") == ("fe80::1%eth0", 6379)


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port with a listener that never answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def refused(address: str, knock: Any = joining.knock) -> str:
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        knock(address)
    assert time.monotonic() - began < WITHIN_S
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.long
@pytest.mark.long
def test_nobody_and_somebody_else_are_told_apart(silent: int) -> None:
    assert "nothing listens there; start one with `ray start --head" in refused(f"127.0.0.1:{free_port()}")
    assert "no host has the name nowhere.invalid" in refused("nowhere.invalid:6379")
    assert "gives no answer within 2.5 s" in refused(f"127.0.0.1:{silent}")
    with pages({}) as url:
        assert "something else listens there" in refused(url.removeprefix("http://"))


def test_an_interrupt_ends_the_waiting(silent: int) -> None:
    began = time.monotonic()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        joining.knock(f"127.0.0.1:{silent}")
    assert time.monotonic() - began < 2.0


def test_an_interrupt_ends_the_waiting_for_a_name() -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        joining.within(30, lambda: time.sleep(1.5))
    assert time.monotonic() - began < 1.2


class Head:
    """A head's control service that knows what a driver asks before it joins."""

    def __init__(self, *, token: str = "", socket_name: str = "/", ray: str = "", python: str = "") -> None:
        import ray as installed

        self.token, self.socket_name = token, socket_name
        self.about = {
            "ray_version": ray or installed.__version__,
            "python_version": python or platform.python_version(),
        }

    def __enter__(self) -> str:
        import grpc
        from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc

        head = self

        def admit(context: Any) -> None:
            if head.token and ("authorization", f"Bearer {head.token}") not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")

        class Nodes(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
            def GetClusterId(self, request: Any, context: Any) -> Any:
                admit(context)
                return gcs_service_pb2.GetClusterIdReply(cluster_id=b"1")

            def GetAllNodeInfo(self, request: Any, context: Any) -> Any:
                admit(context)
                there = gcs_pb2.GcsNodeInfo(raylet_socket_name=head.socket_name, node_manager_hostname="far-away")
                gone = gcs_pb2.GcsNodeInfo(raylet_socket_name="/", state=gcs_pb2.GcsNodeInfo.GcsNodeState.DEAD)
                return gcs_service_pb2.GetAllNodeInfoReply(node_info_list=[there, gone])

        class Values(gcs_service_pb2_grpc.InternalKVGcsServiceServicer):
            def InternalKVGet(self, request: Any, context: Any) -> Any:
                admit(context)
                assert (request.namespace, request.key) == (b"cluster", b"CLUSTER_METADATA")
                return gcs_service_pb2.InternalKVGetReply(value=json.dumps(head.about).encode())

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Nodes(), self._server)
        gcs_service_pb2_grpc.add_InternalKVGcsServiceServicer_to_server(Values(), self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return f"127.0.0.1:{port}"

    def __exit__(self, *exc: object) -> None:
        self._server.stop(None).wait()


def test_a_cluster_that_does_not_fit_is_said() -> None:
    with Head() as address:
        assert joining.knock(address) == address
    with Head(ray="2.9.3") as address:
        assert f"has Ray 2.9.3 and Python {platform.python_version()}, here are Ray" in refused(address)
    with Head(python="3.7.1") as address:
        assert "Python 3.7.1, here are" in refused(address)
    with Head(socket_name="/tmp/nowhere/raylet") as address:
        text = refused(address)
        assert "this machine is not a node of the cluster" in text and "far-away" in text and "`geoflow submit`" in text


def test_the_token_is_sent_where_it_is_wanted(home: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Head(token=TOKEN) as address:
        assert "asks for a token, and this machine has none" in refused(address)
        has_token(monkeypatch, "b" * 64)
        assert f"{address} refused the token" in refused(address)
        assert home == []
        has_token(monkeypatch, TOKEN)
        assert joining.knock(address) == address and home == ["sent"]
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert "RAY_AUTH_MODE=disabled forbids" in refused(address)
    with Head() as address:
        joining.knock(address)
    assert home == ["sent"], "who wants none gets none"


def test_the_variable_is_named_where_the_address_is_its(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(ConfigError, match=r"has no port.*comes from \$RAY_ADDRESS"), session.ray_cluster():
        pass
    with pytest.raises(ConfigError) as caught, session.ray_cluster("other"):
        pass
    assert "RAY_ADDRESS" not in str(caught.value)


class pages:
    """A server of web pages: path -> (status, text), everything else 404; with a token, 401 and 403 without it."""

    def __init__(self, known: dict[str, str], token: str = "") -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization")
                status = 200 if self.path in known else 404
                if token:
                    status = 401 if given is None else status if given == f"Bearer {token}" else 403
                self.send_response(status)
                self.end_headers()
                self.wfile.write(known.get(self.path, "no such page").encode())

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


JOBS = {"/api/version": json.dumps({"version": "4", "ray_version": "2.60.0"})}


@pytest.mark.long
def test_a_job_server_is_knocked_at(home: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pages(JOBS) as url:
        assert job_server.knock(url) == job_server.knock(f" {url.removeprefix('http://')}/") == url
    with pages({}) as url:
        assert "something else listens there" in refused(url, job_server.knock)
    with pages({"/api/version": "<html>"}) as url:
        assert "something else listens there" in refused(url, job_server.knock)
    assert "nothing listens there" in refused(f"http://127.0.0.1:{free_port()}", job_server.knock)
    for address in ("ray://head:10001", "auto", "http://", "http://head:port", "not an address", "http://head:0"):
        assert "is not the address of a job server" in refused(address, job_server.knock)
    with pages(JOBS, TOKEN) as url:
        assert "asks for a token" in refused(url, job_server.knock)
        has_token(monkeypatch, "b" * 64)
        assert "refused the token" in refused(url, job_server.knock) and home == []
        has_token(monkeypatch, TOKEN)
        assert job_server.knock(url) == url and home == ["sent"]


@pytest.mark.long
@pytest.mark.long
def test_a_job_server_that_says_nothing_is_given_up(silent: int) -> None:
    assert "no job server answers at" in refused(f"http://127.0.0.1:{silent}", job_server.knock)

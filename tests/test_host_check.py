"""Which requests the stand-alone page answers."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fouriscale.hosts.webui.host_check import HostCheck


def client(bound: str) -> TestClient:
    """A page at an address, with a route and a websocket."""
    app = FastAPI()

    @app.get("/")
    def index() -> str:
        return "page"

    @app.websocket("/queue")
    async def queue(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app.add_middleware(HostCheck, bound=bound)
    return TestClient(app)


@pytest.mark.parametrize(
    ("bound", "host", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:7865", True), ("127.0.0.1", "localhost:7865", True), ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:7865", True), ("127.0.0.1", "a.localhost", True),
        ("127.0.0.1", "evil.example:7865", False), ("127.0.0.1", "192.168.0.2", False), ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost.evil.example", False), ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "[::1", False), ("127.0.0.1", "localhost@evil.example", False),
        ("192.168.0.2", "192.168.0.2:7865", True), ("192.168.0.2", "192.168.0.3", False),
        ("box.lan", "BOX.lan:7865", True), ("box.lan", "other.lan", False),
        ("0.0.0.0", "192.168.0.3:7865", True), ("::", "[fd00::2]:7865", True), ("0.0.0.0", "evil.example", False),
    ],
)  # fmt: skip
def test_hosts(bound: str, host: str, answered: bool) -> None:
    page = client(bound)
    assert page.get("/", headers={"Host": host}).status_code == (200 if answered else 403)
    if not answered:
        with pytest.raises(WebSocketDisconnect), page.websocket_connect("/queue", headers={"Host": host}):
            pass


@pytest.mark.parametrize(
    ("origin", "answered"),
    [("http://localhost:7865", True), ("https://evil.example", False), ("null", False), ("http://[::1", False)],
)
def test_origins(origin: str, answered: bool) -> None:
    """A site elsewhere may send a request to this machine without reading the answer."""
    headers = {"Host": "127.0.0.1:7865", "Origin": origin}
    assert client("127.0.0.1").get("/", headers=headers).status_code == (200 if answered else 403)


def test_a_websocket_by_the_right_name() -> None:
    with client("127.0.0.1").websocket_connect("/queue", headers={"Host": "127.0.0.1:7865"}) as socket:
        assert socket.receive_text() == "hello"

"""Refuses requests by another name than the page's own, so that no site elsewhere can reach a page on this machine.

A site may let its name point to 127.0.0.1 (DNS rebinding) and have a visitor's browser read the answers; and any site
may send requests to this machine. Browsers tell in the headers Host and Origin which name they used.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

Application = Callable[..., Any]


def allowed_names(bound: str) -> Callable[[str], bool]:
    """Which names a page may be asked by that listens on the address `bound`: localhost and that address.

    Where it listens on every address (0.0.0.0, ::): also any address, as no name can stand for one, and the machine's
    own names.
    """
    everywhere = _address(bound) is not None and _address(bound).is_unspecified  # type: ignore[union-attr]
    own = {bound.lower(), "localhost"}
    if everywhere:
        own |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def allowed(name: str) -> bool:
        address = _address(name)
        if address is not None:
            return everywhere or address.is_loopback or address == _address(bound)
        return name in own or name.endswith(".localhost")

    return allowed


class HostCheck:
    """An ASGI middleware: 403, or a closed websocket, where Host or Origin has a name that is not allowed."""

    def __init__(self, app: Application, bound: str):
        self._app, self._allowed = app, allowed_names(bound)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] not in ("http", "websocket") or self._fits(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": b"This page answers to its own address only."})

    def _fits(self, headers: list[tuple[bytes, bytes]]) -> bool:
        hosts = [value.decode("latin-1") for key, value in headers if key.lower() == b"host"]
        origins = [value.decode("latin-1") for key, value in headers if key.lower() == b"origin"]
        names = [_name("//" + host) for host in hosts] + [_name(origin) for origin in origins]
        return len(hosts) == 1 and all(name is not None and self._allowed(name) for name in names)


def _name(url: str) -> str | None:
    """The host of an address, in small letters, without port and brackets; None for what is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None

# SPDX-License-Identifier: Apache-2.0
"""The control socket: what somebody outside may ask the supervisor, as HTTP with JSON bodies over a Unix socket.

The socket lies in the 0700 state directory, so whoever can open it owns the sandbox. It is bound through a descriptor of that directory, because a path in
a socket address may not be longer than 107 bytes and a state directory may.

| Request | Answer |
|---|---|
| GET /v1/status | nodes, pods, Services, holders per kernel, network descriptors |
| GET /v1/holders?since=SECONDS | holders now, and each change since (CLOCK_MONOTONIC) |
| POST /v1/pods/{name}/terminate?signal=TERM | signals the program and keeps it down |
| POST /v1/pods/{name}/release | lets it run again |
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from purelb.sandbox.rig.holders import Holders

SIGNALS = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}


class Controlled(Protocol):
    """One pod's program, as the socket sees it."""

    def terminate(self, *, number: signal.Signals) -> bool: ...

    def release(self) -> None: ...


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of what an earlier sandbox left there."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(path) as reachable:
        sock.bind(reachable)
    sock.listen(16)
    return sock


class short:  # noqa: N801  reads as a word where it is used
    """The same file by a path that is short however deep it lies: `with short(path) as reachable`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = -1

    def __enter__(self) -> str:
        self._directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


def application(
    *,
    status: Callable[[], Mapping[str, Any]],
    holders: Holders,
    pods: Mapping[str, Controlled],
) -> web.Application:
    async def get_status(_: web.Request) -> web.Response:
        return _answer(status())

    async def get_holders(request: web.Request) -> web.Response:
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            return _refusal(400, f"since: {request.query['since']!r} is not a number of seconds")
        return _answer({"now": holders.now(), "history": holders.history(since=since)})

    async def terminate(request: web.Request) -> web.Response:
        pod = pods.get(request.match_info["name"])
        number = SIGNALS.get(request.query.get("signal", "TERM"))
        if pod is None:
            return _refusal(404, f"no pod {request.match_info['name']!r} here; there are {', '.join(sorted(pods))}")
        if number is None:
            return _refusal(400, f"signal: one of {', '.join(SIGNALS)}")
        return _answer({"was_running": pod.terminate(number=number)})

    async def release(request: web.Request) -> web.Response:
        pod = pods.get(request.match_info["name"])
        if pod is None:
            return _refusal(404, f"no pod {request.match_info['name']!r} here; there are {', '.join(sorted(pods))}")
        pod.release()
        return _answer({})

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/status", get_status),
            web.get("/v1/holders", get_holders),
            web.post("/v1/pods/{name}/terminate", terminate),
            web.post("/v1/pods/{name}/release", release),
        ]
    )
    return app


def _answer(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _refusal(code: int, text: str) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode({"error": text}), content_type="application/json")

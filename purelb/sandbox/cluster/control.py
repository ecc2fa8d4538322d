# SPDX-License-Identifier: Apache-2.0
"""The control socket: what somebody outside may ask the supervisor, as HTTP with JSON bodies over a Unix socket.

The socket lies in the 0700 state directory, so whoever can open it owns the sandbox. It is bound through a descriptor of that directory, because a path in
a socket address may not be longer than 107 bytes and a state directory may.

| Request | Answer |
|---|---|
| GET /v1/status | nodes, pods, Services, holders per kernel, network descriptors |
| GET /v1/holders?since=SECONDS | holders now, and each change since (CLOCK_MONOTONIC) |
| POST /v1/pods/{name}/terminate?signal=TERM&grace=30 | signals the program and keeps it down; SIGTERM is followed by SIGKILL |
| POST /v1/pods/{name}/rotate-token | a new token in its place, the old one is worth nothing |
| POST /v1/pods/{name}/release | lets it run again |
| POST /v1/probes | what a probe in the client has counted so far (`probe_results`), to be shown by status |
| POST /v1/breakage | `{"type": "Kill"/"Start"/"Cut"/"Heal", ...}` of `breakage`: breaks or mends nodes and networks; healing all clears the fault rules, too |
| GET /v1/faults | the API server's fault rules in force, with number and how often each fired |
| POST /v1/faults | adds a rule (`fault_words`); answers its number |
| DELETE /v1/faults, DELETE /v1/faults/{number} | removes all of them, or one |
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from purelb.sandbox.cluster.breakage import Cannot, Heal, Order
from purelb.sandbox.cluster.fault_words import NotARule, describe, from_json
from purelb.sandbox.cluster.keeper import GRACE_S
from purelb.sandbox.cluster.probe_results import ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from purelb.sandbox.apiserver.faults import Faults
    from purelb.sandbox.cluster.breakage import Breakage
    from purelb.sandbox.cluster.probe_results import ProbeResults
    from purelb.sandbox.rig.holders import Holders

SIGNALS = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}

GRACE_MAX_S: Final = 3600.0


class Controlled(Protocol):
    """One pod's program, as the socket sees it."""

    def terminate(self, *, number: signal.Signals, grace: float) -> bool: ...

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


P = TypeVar("P", bound=Controlled)


def application(
    *,
    status: Callable[[], Mapping[str, Any]],
    holders: Holders,
    pods: Mapping[str, P],
    rotate: Callable[[P], bool],
    breakage: Breakage,
    faults: Faults,
    probes: ProbeResults,
) -> web.Application:
    async def get_status(_: web.Request) -> web.Response:
        return _answer(status())

    async def get_holders(request: web.Request) -> web.Response:
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            return _refusal(400, f"since: {request.query['since']!r} is not a number of seconds")
        return _answer({"now": holders.now(), "history": holders.history(since=since)})

    async def heard_of_probe(request: web.Request) -> web.Response:
        try:
            probes.heard(msgspec.json.decode(await request.read(), type=ProbeResult), now=time.monotonic())
        except msgspec.DecodeError as error:
            return _refusal(400, str(error))
        return _answer({})

    async def terminate(request: web.Request) -> web.Response:
        if (pod := pods.get(request.match_info["name"])) is None:
            return _nobody(request, pods)
        number = SIGNALS.get(request.query.get("signal", "TERM"))
        if number is None:
            return _refusal(400, f"signal: one of {', '.join(SIGNALS)}")
        try:
            grace = float(request.query.get("grace", GRACE_S))
        except ValueError:
            grace = -1.0
        if not 0 <= grace <= GRACE_MAX_S:
            return _refusal(400, f"grace: 0 to {GRACE_MAX_S:g} seconds, not {request.query['grace']!r}")
        return _answer({"was_running": pod.terminate(number=number, grace=grace)})

    async def release(request: web.Request) -> web.Response:
        if (pod := pods.get(request.match_info["name"])) is None:
            return _nobody(request, pods)
        pod.release()
        return _answer({})

    async def rotate_token(request: web.Request) -> web.Response:
        if (pod := pods.get(request.match_info["name"])) is None:
            return _nobody(request, pods)
        if not rotate(pod):
            return _refusal(409, f"{request.match_info['name']} has no account and no token")
        return _answer({})

    async def break_or_mend(request: web.Request) -> web.Response:
        try:
            order: Order = msgspec.json.decode(await request.read(), type=Order)
        except msgspec.DecodeError as error:
            return _refusal(400, str(error))
        try:
            await breakage.order(order)
        except Cannot as error:
            return _refusal(409, str(error))
        if order == Heal():
            faults.clear()
        return _answer({"faults": breakage.in_force()})

    async def get_faults(_: web.Request) -> web.Response:
        return _answer({"faults": shown(faults)})

    async def add_fault(request: web.Request) -> web.Response:
        try:
            rule = from_json(await request.read())
        except NotARule as error:
            return _refusal(400, str(error))
        return _answer({"number": faults.add(rule)})

    async def remove_faults(request: web.Request) -> web.Response:
        present = [number for number, _, _ in faults]
        if (text := request.match_info.get("number")) is None:
            faults.clear()
            return _answer({"removed": present})
        if not text.isdecimal() or int(text) not in present:
            known = f"there are {', '.join(map(str, present))}" if present else "there are none"
            return _refusal(404, f"no fault rule {text}: {known}")
        faults.remove(int(text))
        return _answer({"removed": [int(text)]})

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/status", get_status),
            web.get("/v1/holders", get_holders),
            web.post("/v1/pods/{name}/terminate", terminate),
            web.post("/v1/pods/{name}/release", release),
            web.post("/v1/pods/{name}/rotate-token", rotate_token),
            web.post("/v1/probes", heard_of_probe),
            web.post("/v1/breakage", break_or_mend),
            web.get("/v1/faults", get_faults),
            web.post("/v1/faults", add_fault),
            web.delete("/v1/faults", remove_faults),
            web.delete("/v1/faults/{number}", remove_faults),
        ]
    )
    return app


def shown(faults: Faults) -> list[dict[str, Any]]:
    """The rules in force, for people and programs."""
    return [{"number": number, "words": describe(rule), "rule": rule, "fired": fired} for number, rule, fired in faults]


def _nobody(request: web.Request, pods: Mapping[str, object]) -> web.Response:
    return _refusal(404, f"no pod {request.match_info['name']!r} here; there are {', '.join(sorted(pods))}")


def _answer(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _refusal(code: int, text: str) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode({"error": text}), content_type="application/json")

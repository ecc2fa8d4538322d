# SPDX-License-Identifier: Apache-2.0
"""The listener of a process: /metrics, /healthz and /readyz, and nothing that changes state.

`/healthz` answers whether this process must be restarted and never depends on another machine; `/readyz` whether it does
its job. Handlers read immutable views. GET and HEAD only, within the limits of `connections`; TLS is that of `tls`, and whose
token may read the metrics is decided in `scrapers`. The listener stands before the
first call to the API server, so that a probe always gets an answer with a cause.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from purelb.process.component import CannotStart
from purelb.process.connections import CONNECTIONS_MAX, Connections
from purelb.process.metrics import CONTENT_TYPE
from purelb.process.sparing import Sparing

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

    from purelb.kube.clock import Clock
    from purelb.process.scrapers import Admit

CONNECTIONS: Final = web.AppKey("connections", Connections)


def report(checks: Mapping[str, str | None], *, verbose: bool) -> tuple[int, str]:
    """Status and body of a health answer: `ok`, or 503 with one failing check and its text per line."""
    failing = {name: text for name, text in checks.items() if text is not None}
    lines = [f"{name}: {text}" for name, text in failing.items()]
    if verbose:
        lines = [f"{name}: {'ok' if text is None else text}" for name, text in checks.items()]
    if failing:
        return 503, "\n".join(lines) + "\n"
    return 200, "\n".join([*lines, "ok"]) + "\n"


def application(
    *,
    metrics: Callable[[], bytes],
    health: Callable[[], Mapping[str, str | None]],
    ready: Callable[[], Mapping[str, str | None]],
    clock: Clock,
    tls: Callable[[], ssl.SSLContext] | None = None,
    client_certificate: bool = False,
    admit: Admit | None = None,
) -> web.Application:
    """The three pages over what the process answers. `/metrics` may ask for a client's certificate and for a token."""
    page = Sparing(metrics)

    async def show_metrics(request: web.Request) -> web.Response:
        transport = request.transport
        if client_certificate and not (transport is not None and transport.get_extra_info("peercert")):
            return web.Response(status=401, text="/metrics needs a client certificate\n")
        if admit is not None and (refused := await admit(request.headers.get("Authorization", ""))) is not None:
            challenge = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
            return web.Response(status=refused.status, text=f"{refused.text}\n", headers=challenge)
        return web.Response(body=page.text(clock.now()), headers={"Content-Type": CONTENT_TYPE})

    async def show_health(request: web.Request) -> web.Response:
        status, text = report(health(), verbose="verbose" in request.query)
        return web.Response(status=status, text=text)

    async def show_ready(request: web.Request) -> web.Response:
        status, text = report(ready(), verbose="verbose" in request.query)
        return web.Response(status=status, text=text)

    async def unnamed(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)

    connections = Connections(clock, tls=tls)
    app = web.Application(middlewares=[connections.middleware()])
    app[CONNECTIONS] = connections
    app.on_response_prepare.append(unnamed)
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/healthz", show_health)
    app.router.add_get("/readyz", show_ready)
    return app


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on `host` (empty: all addresses, both families) and `port` (0: a free one).

    Raises CannotStart when the port is taken or the host is not ours.
    """
    family = socket.AF_INET6 if not host or ":" in host else socket.AF_INET
    dual = not host
    try:
        host.encode("idna")  # what can be no name is a TypeError to the library, which leaves its socket open then
        if dual and not socket.has_dualstack_ipv6():
            family, dual = socket.AF_INET, False
        return [socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=CONNECTIONS_MAX)]
    except (OSError, OverflowError, UnicodeError) as error:
        shown = f"[{host}]" if ":" in host else host
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            why = "address in use; is another agent, perhaps PureLB (Go), still running on this node?"
            hint = "end what listens there, or choose another --port"
        else:
            why = str(error)
            hint = "choose a --host that is an address of this machine, and a --port that this user may have"
        raise CannotStart("http", f"cannot listen on {shown}:{port}: {why}", hint) from error


@asynccontextmanager
async def serving(app: web.Application, sockets: list[socket.socket]) -> AsyncIterator[None]:
    """Serve `app` on `sockets` until the block ends; open connections get one second to finish."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("a runner that was set up has a server")
    try:
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(app[CONNECTIONS].serve(server, sockets), name="process:http")
            try:
                yield
            finally:
                accepting.cancel()
    finally:
        for listening in sockets:
            listening.close()
        await runner.cleanup()

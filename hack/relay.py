# SPDX-License-Identifier: Apache-2.0
"""A TCP relay in front of an API server, for the faults that lie between two healthy processes.

What goes through is TLS between the two ends, so a relay cannot tell requests apart and does not try: it holds back bytes of
one direction, or resets connections. A test that wants one certain answer to be lost holds the answers at a moment that it
knows otherwise (hack/webhook.py). Rejected: a proxy that speaks HTTP, since it would need a certificate and would be a peer of
its own. One thread for each direction of each connection: a test has a dozen.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading  # noqa: TID251  tools for tests may
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_RESET = struct.pack("ii", 1, 0)  # linger for no time: close() says RST instead of FIN


class Relay:
    """Listens on loopback from entering until leaving; `url` is what a kubeconfig names in place of `server`."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = (str(parts.hostname), int(parts.port or 443))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lines: list[_Line] = []
        self._answering = threading.Event()
        self._answering.set()
        self._accepting = threading.Thread(target=self._accept, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10.0)
        self.cut()

    def hold_answers(self) -> None:
        """From now on what the server says goes no further, on every connection, until `cut`. What clients say does."""
        self._answering.clear()

    def silence(self) -> None:
        """The connections of now carry no answers any more, until `cut`; new ones do."""
        for line in list(self._lines):
            line.answering = threading.Event()

    def cut(self) -> None:
        """Reset every connection, on both sides. What was held back is lost; new connections carry everything."""
        lines, self._lines = self._lines, []
        for line in lines:
            line.reset()
        for line in lines:
            line.answering.set()  # whoever holds something back finds nobody to give it to
        self._answering.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # we are leaving
            try:
                server = socket.create_connection(self._server, timeout=10.0)
            except OSError:
                client.close()  # nobody there: the client sees what it would see without us, a little later
                continue
            server.settimeout(None)
            line = _Line(client, server, self._answering)
            self._lines.append(line)
            line.start()


class _Line:
    """One client's connection and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, answering: threading.Event) -> None:
        self._client = client
        self._server = server
        self.answering = answering
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for target in (self._ask, self._answer):
            threading.Thread(target=target, name="relay-line", daemon=True).start()

    def reset(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads, and says nothing to the other side
            end.close()

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._client.recv(65536):
                self._server.sendall(said)
            self._server.shutdown(socket.SHUT_WR)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._server.recv(65536):
                self.answering.wait()
                self._client.sendall(said)
            self._client.shutdown(socket.SHUT_WR)

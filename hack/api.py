# SPDX-License-Identifier: Apache-2.0
"""A bare client of the Kubernetes API for the harness and its tests.

It shares no code with purelb.kube, because it is the second opinion: what it reads is what the server said. One request, one
answer, every status a value; nothing is retried but a connection that the server closed between two requests. A client may
live in a network namespace: then only its socket is made there, by entering the namespace for the moment of the connect.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_CLONE_NEWNET = 0x40000000


class Unreachable(ConnectionError):
    """No answer at all: refused, reset, timed out."""


class Answer(NamedTuple):
    """What came back. `body` is the decoded object, or the text when it was no JSON."""

    status: int
    body: Any

    def ok(self) -> Any:
        """The body of a 2xx answer; any other status is an AssertionError that quotes the server."""
        if not 200 <= self.status < 300:
            text = self.body.get("message") if isinstance(self.body, dict) else self.body
            raise AssertionError(f"HTTP {self.status}: {text}")
        return self.body


class Api:
    """One identity at one server. Not for several threads."""

    def __init__(
        self,
        server: str,
        *,
        ca: Path,
        certificate: Path | None = None,
        key: Path | None = None,
        token: str | None = None,
        accept: str = JSON,
        netns: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        parts = urlsplit(server)
        self._host, self._port = str(parts.hostname), int(parts.port or 443)
        self._context = ssl.create_default_context(cafile=str(ca))
        if certificate is not None:
            self._context.load_cert_chain(certificate, key)
        self._headers = {"Accept": accept}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._netns = netns
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._watching: http.client.HTTPConnection | None = None
        self._aborted = False

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: object) -> Answer:
        return self.request("POST", path, body)

    def put(self, path: str, body: object) -> Answer:
        return self.request("PUT", path, body)

    def patch(self, path: str, body: object, *, content_type: str = MERGE_PATCH) -> Answer:
        return self.request("PATCH", path, body, content_type=content_type)

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    def watch(self, path: str) -> Iterator[Any]:
        """The events of a watch, on a connection of its own, until the server or `abort` ends it. Raises Unreachable when it is cut."""
        connection = self._watching = self._connect()
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                raise AssertionError(f"HTTP {response.status}: {response.read().decode(errors='replace')}")
            connection.sock.settimeout(None)  # nothing may happen for as long as the server lets it stand
            while line := response.readline():
                yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as broken:
            if not self._aborted:
                raise Unreachable(f"GET {path}: {broken}") from broken
        finally:
            connection.close()

    def abort(self) -> None:
        """End a watch that another thread reads. The one method that may be called from there."""
        self._aborted = True
        if self._watching is not None and self._watching.sock is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                self._watching.sock.shutdown(socket.SHUT_RDWR)

    def request(self, method: str, path: str, body: object = None, *, content_type: str = JSON) -> Answer:
        """Send one request. Raises Unreachable when nobody answers."""
        payload = None if body is None else json.dumps(body).encode()
        headers = self._headers if payload is None else {**self._headers, "Content-Type": content_type}
        kept = self._connection is not None
        try:
            return self._send(method, path, payload, headers)
        except (OSError, http.client.HTTPException) as broken:
            self.close()
            # The server may close a kept connection while it is idle; a new one gets one chance.
            if kept and isinstance(broken, (ConnectionError, ssl.SSLError)):
                try:
                    return self._send(method, path, payload, headers)
                except (OSError, http.client.HTTPException) as again:
                    self.close()
                    broken = again
            raise Unreachable(f"{method} {path}: {broken}") from broken

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, payload: bytes | None, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, path, payload, headers)
        response = self._connection.getresponse()
        raw = response.read()
        try:
            return Answer(response.status, json.loads(raw))
        except ValueError:
            return Answer(response.status, raw.decode(errors="replace"))

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        with inside(self._netns):
            plain = socket.create_connection((self._host, self._port), timeout=self._timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sock = self._context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise
        return connection


@contextlib.contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """Sockets made here belong to the named network namespace. Only this thread moves, and it always comes back."""
    if netns is None:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(libc, there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(libc, home)
    finally:
        os.close(home)


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    # os.setns exists from Python 3.12 on
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")

# SPDX-License-Identifier: Apache-2.0
"""HTTP to one API server, as a kubeconfig describes it: whole answers, and streams read line by line.

It knows nothing of Kubernetes but the shape of a kubeconfig, and shares no code with purelb.kube: a mistake that client and
embedded server had in common would be invisible. A stream has a connection of its own and is read with a deadline.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

WITHIN_S = 20.0
_HEADERS = ("content-type", "warning", "retry-after", "location", "allow")


class Answer(NamedTuple):
    """Status, the headers that are compared, and the body: decoded JSON, or its text."""

    status: int
    headers: dict[str, str]
    body: Any


class Late(AssertionError):
    """A stream did not say what was awaited within its deadline."""


IDLE_S = 10.0
"""A connection that stood longer is not used again: a server closes those that nobody uses (ours after 75 s), and the
rooms are cleared away at the end of the session, long after the last question."""


class Wire:
    """The admin of one server. Not for several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        chosen = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
        user = _named(config["users"], chosen["user"])["user"]
        parts = urlsplit(cluster["server"])
        self._host, self._port = str(parts.hostname), parts.port or 443
        authority = _text(cluster, "certificate-authority", kubeconfig)
        self._context, self._nobodys = (ssl.create_default_context(cadata=authority) for _ in range(2))
        if "client-certificate" in user or "client-certificate-data" in user:
            _load(self._context, *(_text(user, word, kubeconfig) for word in ("client-certificate", "client-key")))
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._kept: http.client.HTTPSConnection | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def ask(self, method: str, path: str, *, body: bytes | None, media: str, accept: str) -> Answer:
        headers = {**self._headers, "Accept": accept} | ({"Content-Type": media} if body is not None else {})
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()
        self._used_at = time.monotonic()
        if self._kept is None:
            self._kept = self._connection()
        try:
            self._kept.request(method, path, body, headers)
            response = self._kept.getresponse()
            read = response.read()
        except (OSError, http.client.HTTPException):
            # A server may close what it has not read to its end; what it said before is gone with it.
            self.close()
            raise
        if response.will_close:
            self.close()
        return Answer(response.status, _compared(response), _decoded(read, response))

    def ask_as(self, token: str, method: str, path: str) -> Answer:
        """A request of somebody else: whoever this token is, and nobody if it is empty."""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._nobodys, timeout=WITHIN_S)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, _compared(response), _decoded(response.read(), response))
        finally:
            connection.close()

    def open(self, path: str, *, accept: str) -> Stream:
        connection = self._connection()
        connection.request("GET", path, headers={**self._headers, "Accept": accept})
        return Stream(connection, connection.getresponse())

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=WITHIN_S)


class Stream:
    """A watch that is open. `started` is when its headers had come."""

    def __init__(self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse) -> None:
        self.started = time.monotonic()
        self.status = response.status
        self.headers = _compared(response)
        self._connection = connection
        self._response = response

    def whole(self) -> Any:
        """All that a refusal says."""
        return _decoded(self._response.read(), self._response)

    def line(self, *, deadline: float) -> Any:
        """The next event, None at the end. Raises Late."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late("nothing was said before the deadline")
        if self._connection.sock is not None:
            self._connection.sock.settimeout(left)
        try:
            read = self._response.readline()
        except TimeoutError as late:
            raise Late(f"nothing was said for {left:.1f} s") from late
        return json.loads(read) if read else None

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def _compared(response: http.client.HTTPResponse) -> dict[str, str]:
    found: Mapping[str, list[str] | None] = {name: response.headers.get_all(name) for name in _HEADERS}
    return {name: ", ".join(values) for name, values in found.items() if values}


def _decoded(read: bytes, response: http.client.HTTPResponse) -> Any:
    if "json" in (response.headers.get("content-type") or ""):
        try:
            return json.loads(read)
        except ValueError:
            pass  # several lines, of a stream that nobody expected
    return read.decode(errors="replace")


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _text(entry: Mapping[str, str], word: str, kubeconfig: Path) -> str:
    if f"{word}-data" in entry:
        return base64.b64decode(entry[f"{word}-data"]).decode()
    return (kubeconfig.parent / entry[word]).read_text()


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """A pair from memory; the ssl module reads files only."""
    descriptor, path = tempfile.mkstemp()  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(certificate + "\n" + key)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()

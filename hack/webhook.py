# SPDX-License-Identifier: Apache-2.0
"""A mutating admission webhook of a test's own: it sees each write before it is committed, and may hold, change or overtake it.

This is where faults are made that have to hit one certain write: whoever stands in admission knows what is being written, by
whom, and that it is not committed yet. A MutatingAdmissionPolicy can only change objects, and the API server we build does not
serve it without a feature gate; a webhook works in every version, and is what clusters have.

The answer of `see` is a JSON patch; while it runs, the write waits. It runs in a thread of its own for each write. Its time is
limited by the API server (30 s at most); what takes longer, or raises, is a refused write.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading  # noqa: TID251  tools for tests may
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from hack.pki import Pair

Patch = list[dict[str, object]]

_CREDENTIAL = "authentication.kubernetes.io/credential-id"


class Seen(NamedTuple):
    """A write in admission: whose it is, and the object as it is to become. `credential` names the token it came with."""

    user: str
    credential: str
    name: str
    object: dict[str, Any]


def nothing(_seen: Seen) -> Patch:
    """Admit it as it is."""
    return []


class Webhook:
    """Listens on loopback from entering until leaving. `see` may be set at any time; `failed` is what it raised."""

    def __init__(self, pair: Pair) -> None:
        self.see: Callable[[Seen], Patch] = nothing
        self.failed: list[Exception] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server = _Server(("127.0.0.1", 0), _Reviews)
        self._server.webhook = self
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10.0)

    def configuration(self, name: str, *, ca: Path, resources: Sequence[str], selector: Mapping[str, str]) -> Any:
        """The object that makes the API server ask us about updates of these core resources, in namespaces with these labels."""
        url = f"https://127.0.0.1:{self._server.server_port}/"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": list(resources)}
        hook = {
            "name": f"{name}.example.org",
            "clientConfig": {"url": url, "caBundle": base64.b64encode(ca.read_bytes()).decode()},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": dict(selector)},
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 30,
            "admissionReviewVersions": ["v1"],
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [hook],
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a write that is held when the test ends holds up nobody
    webhook: Webhook


class _Reviews(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection for each review: none is left open when we leave
    server: _Server

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked, webhook = review["request"], self.server.webhook
        who = asked["userInfo"]
        (credential, *_) = who.get("extra", {}).get(_CREDENTIAL) or [""]
        try:
            patch = webhook.see(Seen(who["username"], credential, asked["name"], asked["object"]))
        except Exception as error:  # noqa: BLE001  told to the test; the write is refused
            webhook.failed.append(error)
            self.send_error(500, str(error))
            return
        response = {"uid": asked["uid"], "allowed": True}
        if patch:
            encoded = base64.b64encode(json.dumps(patch).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": encoded}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """What was seen is the test's to tell."""

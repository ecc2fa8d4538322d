# SPDX-License-Identifier: Apache-2.0
"""Who asked the API server for what, by its audit log: the second opinion on what our processes say that they sent.

A request is told apart from that of another replica by the credential it came with, since replicas share their ServiceAccount.
The log is written before a request counts as done, so what has an effect is in it. Times are the server's.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READING = frozenset({"get", "list", "watch"})


class Asked(NamedTuple):
    """One finished request. `resource` with its subresource, as `services/status`; `at`: when it had been read."""

    credential: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    at: float


class Witness:
    """Reads the audit log of a control plane; `position` is a moment in it."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def position(self) -> int:
        return self._log.stat().st_size

    def asked(self, *, credential: str | None = None, since: int = 0) -> Iterator[Asked]:
        """Finished requests in the order in which they ended."""
        with self._log.open("rb") as file:
            file.seek(since)
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.splitlines():
            event = json.loads(line)
            if event["stage"] != "ResponseComplete" or "objectRef" not in event:
                continue
            found = _asked(event)
            if credential in {None, found.credential}:
                yield found

    def publications(self, namespace: str, name: str) -> list[Asked]:
        """Every attempt to write the status of a Service."""
        what = ("patch", "services/status", namespace, name)
        return [each for each in self.asked() if (each.verb, each.resource, each.namespace, each.name) == what]

    def writes(self, *, credential: str, since: int) -> list[Asked]:
        """All that was no reading. Events are left out: they tell of what was done before."""
        return [
            each
            for each in self.asked(credential=credential, since=since)
            if each.verb not in READING and each.resource != "events"
        ]


def _asked(event: dict[str, Any]) -> Asked:
    target = event["objectRef"]
    return Asked(
        credential=credential_of(event["user"]),
        verb=event["verb"],
        resource="/".join(part for part in (target["resource"], target.get("subresource")) if part),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event["responseStatus"]["code"],
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
    )


def credential_of(user: dict[str, Any]) -> str:
    """What tells one token from another of the same account, in the server's words."""
    (said, *_) = user.get("extra", {}).get("authentication.kubernetes.io/credential-id") or [""]
    return str(said)


def credential_in(kubeconfig: Path) -> str:
    """The same, read out of the token itself."""
    token = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    claims = token.split(".")[1]
    return f"JTI={json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))['jti']}"

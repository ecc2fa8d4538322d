# SPDX-License-Identifier: Apache-2.0
"""Where cases live on a server: a namespace and an API group for each, made, prepared, given on when empty, and removed.

Removing a namespace costs a real cluster more than everything a case asks, so a case that is easy to undo leaves its namespace
to the next one. Only what was made here is ever removed; `close` removes the rest, also after failures.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

from tests.fidelity.runner import Record, Run
from tests.fidelity.steps import JSON, MERGE, Case, Kubectl, Request, Room

if TYPE_CHECKING:
    from tests.fidelity.targets import Target
    from tests.fidelity.wire import Answer

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_IN_THE_NAMESPACE = re.compile(r"(/api(?:s/[a-z.0-9]+)?/v1/namespaces/<ns>/([a-z]+))(?:[/?].*)?$")
# Kinds whose deletion is over when it is answered, and the objects that controllers put into every namespace.
_PLAIN = frozenset({"configmaps", "endpointslices", "events", "leases", "secrets", "serviceaccounts", "services"})
_CONTROLLERS_OWN = frozenset({"default", "kube-root-ca.crt"})


class Rooms:
    """The namespaces and API groups in use on one server. What a case leaves empty again is given to a later one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open: dict[str, dict[str, str]] = {}
        self._spare: list[dict[str, str]] = []

    def run(self, case: Case) -> list[Record]:
        """The transcript of a case: one record per step, normalised."""
        running = Run(self._target, self._names(case.room or Room(name=case.name)), steps=case.steps)
        try:
            return [running.step(step) for step in case.steps]
        finally:
            running.close()
            if case.room is None:
                self._clear(case)

    def _names(self, room: Room) -> dict[str, str]:
        """`ns` and `group`, made and prepared on the first call."""
        if room.name not in self._open:
            names = self._open[room.name] = self._spare.pop() if self._spare else self._made()
            try:
                self._prepare(room, names)
            except BaseException:
                self._leave(room)
                raise
        return self._open[room.name]

    def _prepare(self, room: Room, names: dict[str, str]) -> None:
        running = Run(self._target, names, steps=room.prepare)
        try:
            for step in room.prepare:
                record = running.step(step)
                assert record.get("status", 200) < 300, record
        finally:
            running.close()

    def _made(self) -> dict[str, str]:
        number = secrets.token_hex(4)
        names = {"ns": f"purelb-conf-{number}", "group": f"conf-{number}.purelb.io"}
        made = self._ask(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names["ns"]}}
        )
        assert made.status == 201, made
        return names

    def _clear(self, case: Case) -> None:
        """Empty the room of a case for the next one, or remove it where that is not sure to leave nothing."""
        names = self._open[case.name]
        collections = written(case)
        if collections is None:
            self._leave(Room(name=case.name))
            return
        for path in collections:
            self._empty(path.replace("<ns>", names["ns"]))
        self._spare.append(self._open.pop(case.name))

    def _empty(self, collection: str) -> None:
        for item in self._ask("GET", collection, None).body.get("items") or []:
            one = f"{collection}/{item['metadata']['name']}"
            if item["metadata"].get("finalizers"):
                released = json.dumps({"metadata": {"finalizers": None}}).encode()
                self._target.wire.ask("PATCH", one, body=released, media=MERGE, accept=JSON)
            if item["metadata"]["name"] not in _CONTROLLERS_OWN:
                self._ask("DELETE", one, None)

    def _leave(self, room: Room) -> None:
        """Remove a room with all that is in it."""
        names = self._open.pop(room.name, None)
        if names is None:
            return
        for crd in self._ask("GET", _CRDS, None).body["items"]:
            if crd["spec"]["group"] == names["group"]:
                self._ask("DELETE", f"{_CRDS}/{crd['metadata']['name']}", None)
        self._ask("DELETE", f"/api/v1/namespaces/{names['ns']}", None)

    def close(self) -> None:
        self._open |= {names["ns"]: names for names in self._spare}
        self._spare.clear()
        for name in list(self._open):
            self._leave(Room(name=name))

    def _ask(self, method: str, path: str, body: object) -> Answer:
        encoded = None if body is None else json.dumps(body).encode()
        return self._target.wire.ask(method, path, body=encoded, media=JSON, accept=JSON)


def written(case: Case) -> set[str] | None:
    """The collections that a case may have left something in; None if that is not to be read from its steps."""
    found = set()
    for step in case.steps:
        match step:
            case Kubectl():
                return None
            case Request(method="GET"):
                pass
            case Request(path=path):
                collection = _IN_THE_NAMESPACE.match(path)
                if collection is None or collection[2] not in _PLAIN:
                    return None
                found.add(collection[1])
            case _:
                pass
    return found

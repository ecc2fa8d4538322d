# SPDX-License-Identifier: Apache-2.0
"""Cases meet a server: placeholders are filled in, steps are sent one after the other, and what came back is written down.

It decides nothing about right and wrong: the same code runs against both servers. Nothing sleeps but the poll of an `until`,
and everything that waits has a bound. What a room made is removed by `close`, also after a failure.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import quote

from hack.processes import wait_until
from tests.fidelity.normal import Normaliser, without_ages
from tests.fidelity.steps import JSON, Case, Compact, Events, From, Kubectl, Open, Request, Room, Step
from tests.fidelity.wire import WITHIN_S, Answer, Stream

if TYPE_CHECKING:
    from tests.fidelity.targets import Target

Record = dict[str, Any]

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_IN_THE_NAMESPACE = re.compile(r"(/api(?:s/[a-z.0-9]+)?/v1/namespaces/<ns>/([a-z]+))(?:[/?].*)?$")
# Kinds whose deletion is over when it is answered, and the objects that controllers put into every namespace.
_PLAIN = frozenset({"configmaps", "endpointslices", "events", "leases", "secrets", "serviceaccounts", "services"})
_CONTROLLERS_OWN = frozenset({"default", "kube-root-ca.crt"})
_PLACEHOLDER = re.compile(r"<([a-z0-9]+(?:\.[a-z]+)?)>")


class Rooms:
    """The namespaces and API groups in use on one server. What a case leaves empty again is given to a later one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open: dict[str, dict[str, str]] = {}
        self._spare: list[dict[str, str]] = []

    def names_of(self, room: Room) -> dict[str, str]:
        """`ns` and `group`, made and prepared on the first call."""
        if room.name not in self._open:
            names = self._open[room.name] = self._spare.pop() if self._spare else self._made()
            run = Run(self._target, names, steps=room.prepare)
            try:
                for step in room.prepare:
                    record = run.step(step)
                    assert record.get("status", 200) < 300, record
            except BaseException:
                self.leave(room)
                raise
            finally:
                run.close()
        return self._open[room.name]

    def _made(self) -> dict[str, str]:
        number = secrets.token_hex(4)
        names = {"ns": f"purelb-conf-{number}", "group": f"conf-{number}.purelb.io"}
        made = self._ask(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names["ns"]}}
        )
        assert made.status == 201, made
        return names

    def clear(self, case: Case) -> None:
        """Empty the room of a case for the next one, or remove it where that is not sure to leave nothing."""
        names = self._open[case.name]
        collections = written(case)
        if collections is None or not all(self._emptied(path.replace("<ns>", names["ns"])) for path in collections):
            self.leave(Room(name=case.name))
            return
        self._spare.append(self._open.pop(case.name))

    def _emptied(self, collection: str) -> bool:
        items = self._ask("GET", collection, None).body.get("items") or []
        if any(item["metadata"].get("finalizers") for item in items):
            return False
        for item in items:
            if item["metadata"]["name"] not in _CONTROLLERS_OWN:
                self._ask("DELETE", f"{collection}/{item['metadata']['name']}", None)
        return True

    def leave(self, room: Room) -> None:
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
            self.leave(Room(name=name))

    def _ask(self, method: str, path: str, body: object) -> Answer:
        encoded = None if body is None else json.dumps(body).encode()
        return self._target.wire.ask(method, path, body=encoded, media=JSON, accept=JSON)


def run(case: Case, target: Target, rooms: Rooms) -> list[Record]:
    """The transcript of a case: one record per step, normalised."""
    room = case.room or Room(name=case.name)
    running = Run(target, rooms.names_of(room), steps=case.steps)
    try:
        return [running.step(step) for step in case.steps]
    finally:
        running.close()
        if case.room is None:
            rooms.clear(case)


class Run:
    """One pass through the steps of a case."""

    def __init__(self, target: Target, names: dict[str, str], *, steps: tuple[Step, ...]) -> None:
        self._target = target
        self._values: dict[str, str] = dict(names)
        self._objects: dict[str, Any] = {}
        self._streams: dict[str, Stream] = {}
        sent = json.dumps([_sent(step) for step in steps])
        self._normal = Normaliser({value: f"<{name}>" for name, value in names.items()}, sent=sent)

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def step(self, step: Step) -> Record:
        match step:
            case Request():
                return self._request(step)
            case Open():
                return self._opened(step)
            case Events():
                return self._events(step)
            case Compact():
                self._target.compact()
                return {"asked": "compact"}
            case Kubectl():
                return self._kubectl(step)
            case _:
                assert_never(step)

    def _request(self, step: Request) -> Record:
        body = step.raw
        if body is None and step.body is not None:
            body = json.dumps(self._filled(step.body)).encode()
        path = self._path(step.path)
        wire = self._target.wire
        if step.token is not None:
            answer = wire.ask_as(self._text(step.token), step.method, path)
        else:
            answer = wire.ask(step.method, path, body=body, media=step.media, accept=step.accept)
        if step.until:
            answer = self._polled(step, path)
        if step.keep:
            self._keep(step.keep, answer.body)
        shown = self._normal.body(answer.body)
        for part in step.leave_out:
            _drop(shown, part.split("."))
        if step.only:
            shown = {part: _at(shown, part.split(".")) for part in step.only}
        return {
            "asked": f"{step.method} {step.path}",
            "status": answer.status,
            "headers": {name: self._normal.text(text) for name, text in answer.headers.items()},
            "body": shown,
        }

    def _polled(self, step: Request, path: str) -> Answer:
        answers: list[Answer] = []

        def probe() -> object:
            found = self._target.wire.ask(step.method, path, body=None, media=step.media, accept=step.accept)
            answers[:] = [found]
            seen = {"status": found.status, "body": found.body}
            return all(_at(seen, at.split(".")) == value for at, value in step.until.items()) or seen

        wait_until(f"{path} shows {dict(step.until)}", probe, within_s=WITHIN_S)
        return answers[0]

    def _opened(self, step: Open) -> Record:
        stream = self._streams[step.watch] = self._target.wire.open(self._path(step.path), accept=step.accept)
        record: Record = {"asked": f"WATCH {step.path}", "status": stream.status, "headers": stream.headers}
        if stream.status != 200:
            record["body"] = self._normal.body(stream.whole())
        return record

    def _events(self, step: Events) -> Record:
        stream = self._streams[step.watch]
        seen: list[Any] = []
        ended = False
        counted = 0
        deadline = time.monotonic() + WITHIN_S
        while step.to_the_end or counted < step.count:
            event = stream.line(deadline=deadline)
            if event is None:
                ended = True
                break
            if event["type"] == "BOOKMARK" and not step.bookmarks:
                continue
            counted += 1
            shown = self._normal.event(event)
            for part in step.leave_out:
                _drop(shown, part.split("."))
            seen.append(shown)
        record: Record = {"asked": f"events of {step.watch}", "events": seen, "ended": ended}
        if step.lasting is not None:
            least, most = step.lasting
            lasted = time.monotonic() - stream.started
            record["lasted"] = f"{least}-{most} s" if least <= lasted <= most else f"{lasted:.1f} s"
        return record

    def _kubectl(self, step: Kubectl) -> Record:
        arguments = [self._text(argument) for argument in step.arguments]
        home = self._target.directory / "kubectl"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [
                "kubectl",
                f"--kubeconfig={self._target.kubeconfig}",
                f"--cache-dir={home}",
                "-n",
                self._values["ns"],
                *arguments,
            ],
            input=None if step.stdin is None else json.dumps(self._filled(step.stdin)),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "KUBE_EDITOR": "sed -i 's/^metadata:/&\\n  labels: {edited: by-hand}/'",
            },
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        stdout, stderr = (without_ages(self._normal.text(text)) for text in (done.stdout, done.stderr))
        return {
            "asked": " ".join(("kubectl", *step.arguments)),
            "exit": done.returncode,
            "stdout": stdout.splitlines(),
            "stderr": stderr.splitlines(),
        }

    # --- placeholders

    def _keep(self, name: str, body: Any) -> None:
        assert isinstance(body, dict), f"no object to keep: {body!r}"
        self._objects[name] = body
        metadata = body.get("metadata", {})
        token = _at(body, ["status", "token"])
        if token is not None:
            self._values[f"{name}.token"] = token
        for word, field in (("rv", "resourceVersion"), ("uid", "uid"), ("continue", "continue"), ("name", "name")):
            if field in metadata:
                self._values[f"{name}.{word}"] = str(metadata[field])

    def _text(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: self._values.get(found[1], found[0]), text)

    def _path(self, text: str) -> str:
        """Filled in; what stands in a query needs no quoting by the case, except of itself."""
        filled = _PLACEHOLDER.sub(lambda found: quote(self._values[found[1]], safe=""), text)
        return filled.replace(" ", "%20")

    def _filled(self, value: Any) -> Any:
        match value:
            case From():
                return merged(self._objects[value.kept], self._filled(value.patch))
            case dict():
                return {self._text(name): self._filled(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self._filled(inner) for inner in value]
            case str():
                return self._text(value)
            case _:
                return value


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


def merged(target: Any, patch: Any) -> Any:
    """A merge patch on a copy."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def _sent(step: Step) -> Any:
    match step:
        case Request(body=From(patch=body)) | Request(body=body) | Kubectl(stdin=body):
            return body
        case _:
            return None


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _drop(value: Any, path: list[str]) -> None:
    """Remove a part, in every item where the path meets a list."""
    if isinstance(value, list):
        for item in value:
            _drop(item, path)
    elif isinstance(value, dict) and len(path) == 1:
        value.pop(path[0], None)
    elif isinstance(value, dict):
        _drop(value.get(path[0]), path[1:])

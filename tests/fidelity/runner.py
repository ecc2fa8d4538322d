# SPDX-License-Identifier: Apache-2.0
"""Steps meet a server: placeholders are filled in, steps are sent one after the other, and what came back is written down.

It decides nothing about right and wrong: the same code runs against both servers. Nothing sleeps but the poll of an `until`,
and everything that waits has a bound.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import quote

from hack.processes import wait_until
from tests.fidelity.normal import Normaliser, without_ages
from tests.fidelity.steps import Compact, Events, From, Kubectl, Open, Request, Step, Wait
from tests.fidelity.wire import WITHIN_S, Answer, Stream

if TYPE_CHECKING:
    from tests.fidelity.targets import Target

Record = dict[str, Any]

# What controllers do in their own time: a namespace is emptied after five seconds, and looked at again eight seconds later.
_POLLED_WITHIN_S = 60.0

_PLACEHOLDER = re.compile(r"<([a-z0-9]+(?:\.[a-z]+)?)>")


class Run:
    """One pass through the steps of a case."""

    def __init__(self, target: Target, names: dict[str, str], *, steps: tuple[Step, ...]) -> None:
        self._target = target
        self._values: dict[str, str] = dict(names)
        self._objects: dict[str, Any] = {}
        self._streams: dict[str, Stream] = {}
        self._skipped = 0.0
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
            case Wait():
                self._skipped += self._target.wait(step.seconds)
                return {"asked": f"wait {step.seconds:g} s"}
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

        wait_until(f"{path} shows {dict(step.until)}", probe, within_s=_POLLED_WITHIN_S)
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
            lasted = time.monotonic() - stream.started + self._skipped
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

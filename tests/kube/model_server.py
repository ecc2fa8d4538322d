# SPDX-License-Identifier: Apache-2.0
"""A slow and obvious API server of one kind, that misbehaves on request. The other end of a `Scripted` transport.

It keeps every version it ever had. A watch is served from the history after its version, or gets an ERROR event 410 when that
has been compacted; a list from version `"0"` may be as old as the test wants. With `streams` it says that it is new enough to
stream the initial state of a watch, and
does so; while it `holds`, the bookmark that ends an initial state waits for `go_on`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.kube.scripted import Call, Stream

KIND = "Service"


class ModelServer:
    def __init__(self, *, streams: bool = False, joins: bool = False) -> None:
        self.streams = streams
        self.joins = joins  # events come as a socket brings them: what waits comes at once
        self.gate = False  # streaming is refused, whatever the version says
        self.holds = False  # the end of an initial state waits for `go_on`
        self.rv = 100
        self.compacted = 0
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.states: list[tuple[int, dict[str, dict[str, Any]]]] = [(self.rv, {})]
        self.watches: list[tuple[Stream, int]] = []
        self.held: list[Stream] = []
        self.faults: list[str] = []
        self.stale_by = 0
        self._uids = 0

    # The test's side

    def write(self, name: str, what: str) -> None:
        """`what`: good, poison, same, delete, recreate."""
        known = self.objects.get(name)
        if what in {"delete", "recreate"} and known is not None:
            self.rv += 1
            gone = {**known, "metadata": {**known["metadata"], "resourceVersion": str(self.rv)}}
            del self.objects[name]
            self._happened("DELETED", gone)
            known = None
        if what == "delete":
            return
        self.rv += 1
        if known is None:
            self._uids += 1
        uid = f"u{self._uids}" if known is None else known["metadata"]["uid"]
        spec: Any = {"type": f"T{self.rv}"}
        if what == "poison":
            spec = f"poison {self.rv}"
        elif what == "same" and known is not None:
            spec = known["spec"]
        made = {
            "kind": KIND,
            "metadata": {"name": name, "namespace": "d", "uid": uid, "resourceVersion": str(self.rv)},
            "spec": spec,
        }
        self.objects[name] = made
        self._happened("ADDED" if known is None else "MODIFIED", made)

    def bookmark(self) -> None:
        self._send({"type": "BOOKMARK", "object": {"kind": KIND, "metadata": {"resourceVersion": str(self.rv)}}})

    def go_on(self) -> None:
        """Say of every initial state that was held back that it is complete."""
        for stream in self.held:
            if not stream.closed and any(stream is other for other, _ in self.watches):
                stream.send(self._end())
        self.held.clear()

    def _end(self) -> dict[str, Any]:
        metadata = {"resourceVersion": str(self.rv), "annotations": {"k8s.io/initial-events-end": "true"}}
        return {"type": "BOOKMARK", "object": {"kind": KIND, "metadata": metadata}}

    def compact(self) -> None:
        self.compacted = self.rv

    def error(self, code: int) -> None:
        """An ERROR event to every watch; real servers end the stream after it."""
        self._send({"type": "ERROR", "object": {"kind": "Status", "code": code}})
        self.end("")

    def end(self, how: str) -> None:
        """End all watches: `""` cleanly, else with that kind of failure."""
        for stream, _ in self.watches:
            if how == "half a line":
                stream.send_bytes(b'{"type":"ADDED","obj')
                stream.end()
            elif how:
                stream.fail(how)  # type: ignore[arg-type]
            else:
                stream.end()
        self.watches.clear()

    def readable(self) -> dict[str, str]:
        """Name to version of what can be decoded."""
        return {
            name: made["metadata"]["resourceVersion"]
            for name, made in self.objects.items()
            if not isinstance(made["spec"], str)
        }

    def _happened(self, kind: str, made: dict[str, Any]) -> None:
        event = {"type": kind, "object": made}
        self.history.append((self.rv, event))
        self.states.append((self.rv, dict(self.objects)))
        self._send(event)

    def _send(self, event: dict[str, Any]) -> None:
        self.watches = [(stream, at) for stream, at in self.watches if not stream.closed]
        for stream, _ in self.watches:
            stream.send(event)

    # The client's side

    def respond(self, call: Call) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            call.refuse(int(fault))
        elif fault in {"refused", "reset", "eof", "timeout"}:
            call.fail(fault)  # type: ignore[arg-type]
        elif call.path == "/version":
            call.reply({"major": "1", "minor": "34" if self.streams else "26"})
        elif "sendInitialEvents" in call.query:
            self._stream(call)
        elif "watch" in call.query:
            self._watch(call)
        else:
            self._list(call)

    def _list(self, call: Call) -> None:
        rv, objects = self.states[-1]
        wanted = call.query.get("resourceVersion", "")
        after = ""
        if "continue" in call.query:
            token, after = call.query["continue"].split("/")
            if int(token) < self.compacted:
                call.refuse(410, "Expired")
                return
            rv, objects = next(state for state in self.states if state[0] == int(token))
        elif wanted == "0":
            rv, objects = self.states[max(0, len(self.states) - 1 - self.stale_by)]
        elif wanted and int(wanted) > self.rv:
            call.refuse(504, "Timeout", message="Too large resource version")
            return
        names = sorted(name for name in objects if name > after)
        limit = min(int(call.query.get("limit", "0")) or 99, 2 if "limit" in call.query else 99)
        page, rest = names[:limit], names[limit:]
        more = f"{rv}/{page[-1]}" if rest else None
        items = [{name: value for name, value in objects[each].items() if name != "kind"} for each in page]
        call.reply({"kind": f"{KIND}List", "metadata": {"resourceVersion": str(rv), "continue": more}, "items": items})

    def _stream(self, call: Call) -> None:
        if not self.streams:  # it could not say its version, and is too old to know what is asked
            self._watch(call)
            return
        wanted = call.query.get("resourceVersion", "")
        assert wanted != "0"
        assert call.query["resourceVersionMatch"] == "NotOlderThan"
        if self.gate:
            call.refuse(422, "Invalid", message="sendInitialEvents is forbidden")
            return
        if wanted and int(wanted) > self.rv:
            call.refuse(504, "Timeout", message="Too large resource version")
            return
        stream = call.open()
        stream.joins = self.joins
        for name in sorted(self.objects):
            stream.send({"type": "ADDED", "object": self.objects[name]})
        if self.holds:
            self.held.append(stream)
        else:
            stream.send(self._end())
        self.watches.append((stream, self.rv))

    def _watch(self, call: Call) -> None:
        stream = call.open()
        stream.joins = self.joins
        if call.query.get("resourceVersion", "") == "":
            for made in self.objects.values():
                stream.send({"type": "ADDED", "object": made})
            self.watches.append((stream, self.rv))
            return
        since = int(call.query["resourceVersion"])
        if since < self.compacted:
            stream.send({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})
            stream.end()
            return
        for rv, event in self.history:
            if rv > since:
                stream.send(event)
        self.watches.append((stream, since))

# SPDX-License-Identifier: Apache-2.0
"""Whatever a server does for a while: once it behaves again, the store equals it, and handlers were told a true story."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from purelb.kube.informer import Informer, Registration
from purelb.kube.model import Service, key
from purelb.kube.resources import SERVICES
from tests.kube.model_server import ModelServer
from tests.kube.scripted import Scripted, client_over
from tests.kube.told import Told
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

NAMES = st.sampled_from("abcde")
WRITES = st.sampled_from(["good", "good", "poison", "same", "delete", "recreate"])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, WRITES),
    st.tuples(st.just("write"), NAMES, WRITES),
    st.tuples(st.just("ours"), NAMES, st.just("")),
    st.tuples(st.just("bookmark"), st.just(""), st.just("")),
    st.tuples(st.just("compact"), st.just(""), st.just("")),
    st.tuples(st.just("end"), st.sampled_from(["", "reset", "eof", "half a line"]), st.just("")),
    st.tuples(st.just("error"), st.sampled_from(["410", "429", "500"]), st.just("")),
    st.tuples(
        st.just("fault"), st.sampled_from(["refused", "eof", "timeout", "429", "410", "500", "404"]), st.just("")
    ),
    st.tuples(st.just("stale"), st.sampled_from("0249"), st.just("")),
    st.tuples(st.just("relist"), st.sampled_from(["", "consistent"]), st.just("")),
    st.tuples(st.just("hold"), st.sampled_from(["", "go on"]), st.just("")),
    st.tuples(st.just("gate"), st.just(""), st.just("")),
    st.tuples(st.just("deaf"), st.just(""), st.just("")),
    st.tuples(st.just("handler"), st.sampled_from(["comes", "goes"]), st.just("")),
    st.tuples(st.just("settle"), st.just(""), st.just("")),
    st.tuples(st.just("advance"), st.sampled_from(["0.5", "2", "45", "400"]), st.just("")),
)


class Witness:
    """Believes what it is told, and writes down what cannot be true."""

    def __init__(self) -> None:
        self.known: dict[str, Service] = {}
        self.objections: list[str] = []

    def added(self, obj: Service, *, initial: bool) -> None:
        if key(obj) in self.known:
            self.objections.append(f"two adds in a row of {key(obj)}")
        self.known[key(obj)] = obj

    def updated(self, old: Service, new: Service) -> None:
        if self.known.get(key(new)) != old:
            self.objections.append(f"an update of {key(new)} from something else than what was told")
        if old.metadata.uid != new.metadata.uid:
            self.objections.append(f"an update of {key(new)} across uids")
        self.known[key(new)] = new

    def deleted(self, obj: Service, *, final: bool) -> None:
        known = self.known.pop(key(obj), None)
        if known is None or known.metadata.uid != obj.metadata.uid:
            self.objections.append(f"a delete of {key(obj)}, which is not known")


class Busy(Witness):
    """Needs its time for each change, so that the driver gives way amid a batch, and now and then wants everything listed again."""

    def __init__(self, clock: VirtualClock, relist: Callable[[], None]) -> None:
        super().__init__()
        self._clock = clock
        self._relist = relist
        self._told = 0

    def added(self, obj: Service, *, initial: bool) -> None:
        super().added(obj, initial=initial)
        self._works()

    def updated(self, old: Service, new: Service) -> None:
        super().updated(old, new)
        self._works()

    def deleted(self, obj: Service, *, final: bool) -> None:
        super().deleted(obj, final=final)
        self._works()

    def _works(self) -> None:
        self._clock.jump(0.006)
        self._told += 1
        if self._told % 3 == 0 and self._told <= 12:
            self._relist()


def take(
    step: tuple[str, str, str], server: ModelServer, informer: Informer[Service], replied: Callable[[], None]
) -> None:
    match step:
        case ("write", name, what):
            server.write(name, what)
        case ("ours", name, _):
            server.write(name, "good")
            informer.note_write(msgspec.convert(server.objects[name], Service))
        case ("bookmark", _, _):
            server.bookmark()
        case ("compact", _, _):
            server.compact()
        case ("end", how, _):
            server.end(how)
        case ("error", code, _):
            server.error(int(code))
        case ("fault", kind, _):
            server.faults.append(kind)
        case ("stale", by, _):
            server.stale_by = int(by)
        case ("hold", "go on", _):
            server.holds = False
            server.go_on()
        case ("hold", _, _):
            server.holds = True
        case ("gate", _, _):
            server.gate = True
        case ("deaf", _, _):
            server.watches.clear()  # the streams stay open, and nothing comes any more
        case ("relist", consistent, _):
            informer.relist("the test wants it", consistent=bool(consistent), reply=replied)
        case _:
            raise AssertionError(step)


async def story(
    steps: list[tuple[str, str, str]], *, streams: bool, audit: float, busy: bool = False
) -> Counter[tuple[str, ...]]:
    clock, server, sink = VirtualClock(0.0, chance=0.3), ModelServer(streams=streams, joins=busy), Told()
    transport = Scripted(server.respond)
    informer: Informer[Service] = Informer(client_over(transport, clock, sink=sink), SERVICES, audit=audit)
    witnesses: list[tuple[Witness, Registration[Service]]] = []

    def comes() -> None:
        witness = Witness()
        witnesses.append((witness, informer.add_handler(witness, deliver_unchanged=True)))

    comes()
    asked = sum(step[0] == "relist" for step in steps)
    replies: list[None] = []

    def again() -> None:
        nonlocal asked
        asked += 1
        informer.relist("amid a batch", consistent=asked % 2 == 0, reply=lambda: replies.append(None))

    if busy:
        worker = Busy(clock, again)
        witnesses.insert(0, (worker, informer.add_handler(worker, deliver_unchanged=True)))
    gone: list[Witness] = []
    running = asyncio.get_running_loop().create_task(informer.run())
    try:
        for step in steps:
            match step:
                case ("settle", _, _):
                    await clock.settle()
                case ("handler", "comes", _):
                    comes()
                case ("handler", _, _):
                    if len(witnesses) > 1:
                        witness, registration = witnesses.pop()
                        registration.remove()
                        witness.known.clear()
                        gone.append(witness)
                case ("advance", seconds, _):
                    await clock.advance(float(seconds))
                case _:
                    take(step, server, informer, lambda: replies.append(None))
        server.faults.clear()
        server.holds = False
        server.go_on()
        server.bookmark()  # to whoever still hears it; a deaf stream ends with its time
        await clock.advance(700.0 if any(step[0] == "deaf" for step in steps) else 200.0)
        stored = {obj.metadata.name: obj.metadata.resource_version for obj in informer.store.values()}
        stale = {name.removeprefix("d/") for name in informer.store.stale}
        readable = server.readable()
        assert {name: rv for name, rv in stored.items() if name not in stale} == readable
        assert stale <= set(server.objects) - set(readable)
        assert {name.removeprefix("d/") for name in informer.undecodable} == set(server.objects) - set(readable)
        for witness, _ in witnesses:
            assert witness.known == {key(obj): obj for obj in informer.store.values()}
            assert witness.objections == []
        assert all(witness.known == {} for witness in gone), "told something after it had gone"
        assert informer.synced
        assert sum(not stream.closed for stream in transport.streams) <= 1, "one stream at a time"
        if not any(step[0] == "deaf" for step in steps):
            assert not sink.counts["reflector_audit_differences_total", "services"], "every change was announced"
        assert len(replies) == asked
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    transport.assert_all_closed()
    assert clock.pending() == []
    return sink.counts


def steps(*told: str) -> list[tuple[str, str, str]]:
    """`write a good` as a step, for stories that are written down."""
    return [(*each.split(), "", "")[:3] for each in told]  # type: ignore[misc]


SILENT = steps("write a good", "settle", "bookmark", "settle", "deaf", "write b good", "advance 400")
INTERRUPTED = steps(
    "hold", "write a good", "settle", "write a poison", "end reset", "advance 2", "write b good", "hold go on"
)
GATED = steps(
    "write a good", "settle", "gate", "compact", "error 410", "write b good", "advance 45", "relist consistent"
)
AUDITED = steps(
    "write a good", "advance 45", "write a delete", "write b recreate", "ours c", "advance 400", "write c same"
)
AMID = steps("settle", "write a good", "write b good", "write c good", "end reset", "advance 45")


@settings(max_examples=150, deadline=None)
@example(SILENT, True, 0.0, False)
@example(SILENT, False, 30.0, False)
@example(INTERRUPTED, True, 0.0, False)
@example(GATED, True, 300.0, False)
@example(AUDITED, True, 30.0, False)
@example(AUDITED, False, 30.0, False)
@example(AMID, True, 0.0, True)
@given(st.lists(STEPS, max_size=40), st.booleans(), st.sampled_from([0.0, 30.0, 300.0]), st.booleans())
def test_once_faults_stop_the_store_equals_the_server(
    told: list[tuple[str, str, str]], streams: bool, audit: float, busy: bool
) -> None:
    asyncio.run(story(told, streams=streams, audit=audit, busy=busy))


def test_a_stream_that_showed_a_bookmark_and_went_deaf_is_found_out_long_before_its_time() -> None:
    counts = asyncio.run(story(SILENT, streams=True, audit=0.0))
    assert counts["reflector_idle_closes_total", "services"] >= 1
    assert counts["reflector_lists_total", "services"] == 0

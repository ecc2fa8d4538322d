# SPDX-License-Identifier: Apache-2.0
"""A server that sends nonsense: nothing it says ends the informer, and what is readable is read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube.informer import Informer
from purelb.kube.resources import SERVICES
from tests.kube.scripted import Call, Scripted, Stream, client_over
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from purelb.kube.model import Service


def event(kind: str, **meta: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "object": {"kind": "Service", "metadata": meta}}) + b"\n"


def good(name: str, rv: str, kind: str = "ADDED") -> bytes:
    return event(kind, name=name, namespace="d", resourceVersion=rv)


# What is sent on the watch, and which keys the store then has besides d/a of the list and d/z of the last event.
STREAMS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "an object nested 100 000 deep": (
        b'{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"b"},"x":' + b"[" * 100_000 + b"\n",
        (),
    ),
    "an object nested 100 000 deep and closed": (
        b'{"type":"ADDED","object":{"kind":"Service","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n",
        (),
    ),
    "labels of 10 MB": (event("ADDED", name="b", namespace="d", labels={"x": "y" * 10_000_000}), ("d/b",)),
    "a key twice": (
        b'{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"x","name":"b","namespace":"d"}}}\n',
        ("d/b",),
    ),
    "an empty version": (good("b", ""), ("d/b",)),
    "no version": (event("ADDED", name="b", namespace="d"), ("d/b",)),
    "a version that is a word": (good("b", "abc"), ("d/b",)),
    "no name": (event("ADDED", namespace="d", resourceVersion="11"), ()),
    "no metadata": (b'{"type":"ADDED","object":{"kind":"Service"}}\n', ()),
    "no object": (b'{"type":"ADDED"}\n', ()),
    "no type": (b'{"object":{"kind":"Service","metadata":{"name":"b"}}}\n', ()),
    "a deletion twice": (good("b", "11") + good("b", "12", "DELETED") * 2, ()),
    "a change before its addition": (good("b", "11", "MODIFIED") + good("b", "11"), ("d/b",)),
    "an object of another namespace": (event("ADDED", name="b", namespace="e", resourceVersion="11"), ("e/b",)),
    "null": (b"null\n", ()),
    "a number": (b"42\n", ()),
    "bytes that are not text": (b'{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"\xff"}}}\n', ()),
    "an ERROR without a Status": (b'{"type":"ERROR","object":[]}\n', ()),
    "nulls everywhere": (
        (
            b'{"type":"MODIFIED","object":{"kind":"Service","metadata":{"name":"b","namespace":"d","labels":null,'
            b'"annotations":null,"ownerReferences":null},"spec":null,"status":null}}\n'
        ),
        ("d/b",),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_whatever_the_watch_brings_the_informer_goes_on(name: str) -> None:
    sent, wanted = STREAMS[name]
    clock, streams = VirtualClock(0.0), list[Stream]()

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            stream = call.open()
            if not streams:
                stream.send_bytes(sent)
            streams.append(stream)
        else:
            items = [{"metadata": {"name": "a", "namespace": "d", "resourceVersion": "1"}}]
            if streams:  # a list after trouble: the server has what the good events said
                items += [
                    {"metadata": {"name": key[2:], "namespace": key[0], "resourceVersion": "2"}} for key in wanted
                ]
            call.reply({"metadata": {"resourceVersion": "10"}, "items": items})

    transport = Scripted(respond)
    informer: Informer[Service] = Informer(client_over(transport, clock), SERVICES, mode="list")
    running = asyncio.get_running_loop().create_task(informer.run())
    await clock.advance(5.0)
    streams[-1].send_bytes(good("z", "99"))
    await clock.settle()
    assert informer.store.keys() == tuple(sorted(("d/a", "d/z", *wanted)))
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    transport.assert_all_closed()


LISTS: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"<html>",
    "a Table": b'{"kind":"Table","rows":[]}',
    "a list nested 100 000 deep": b'{"items":' + b"[" * 100_000,
    "items that are no list": b'{"items":5}',
    "metadata that is a number": b'{"metadata":5,"items":[]}',
    "a version that is a number": b'{"metadata":{"resourceVersion":5},"items":[]}',
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_that_cannot_be_read_is_asked_for_again(name: str) -> None:
    clock, answers = VirtualClock(0.0), [LISTS[name], b'{"metadata":{"resourceVersion":"10"},"items":[]}']

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            call.open()
        else:
            call.reply(answers.pop(0))

    transport = Scripted(respond)
    informer: Informer[Service] = Informer(client_over(transport, clock), SERVICES, mode="list")
    running = asyncio.get_running_loop().create_task(informer.run())
    await clock.settle()
    assert not informer.synced
    await clock.advance(0.8)
    assert informer.synced
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    transport.assert_all_closed()

# SPDX-License-Identifier: Apache-2.0
"""The kernel's network, over netlink: dump, subscribe, apply. No decision about load balancing is made here.

Subscribe first, then dump: an event that is older than the dump is followed by the one that undoes it. A dump that the
kernel calls interrupted described no moment at all; it is asked for again and in the end an error, never half a state. An
event socket that overran (ENOBUFS) stays useless, so it is closed and reopened, and the owner is told to dump.

Two event sockets: links and addresses; and routes behind a filter in the kernel, so that a node with a full BGP table costs
nothing. Requests share one control socket and are answered before `send` returns, so reading an answer does not wait.
The network namespace is entered before the process starts, never from here. Why no library does this: see `rtnetlink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from purelb.kube.clock import breathe
from purelb.kube.failures import failure
from purelb.lbnodeagent import rtnetlink
from purelb.lbnodeagent.host import (
    ALIAS,
    AddressAdded,
    AddressGone,
    DeleteAddress,
    KernelEvent,
    KernelState,
    LinkChanged,
    MakeLink,
    Op,
    OpResult,
    Overrun,
    RemoveLink,
    RoutesChanged,
    SetAddress,
)
from purelb.lbnodeagent.packetfilter import attach, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from purelb.kube.clock import Clock
    from purelb.lbnodeagent.rtnetlink import Message

log = logging.getLogger(__name__)

BATCH: Final = 256
TURN_S: Final = 0.005
DUMP_TRIES: Final = 5
ANSWER_S: Final = 5.0
EVENT_BUFFER: Final = 16 * 1024 * 1024
_CONTROL_BUFFER: Final = 4 * 1024 * 1024
_DATAGRAM: Final = 65536
_EVENTS_AT_ONCE: Final = 64

_SO_RCVBUFFORCE: Final = 33
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10


# Table main, and a default route or one that the kernel or a router advertisement made. Offsets into nlmsghdr and rtmsg.
_LOAD, _EQUAL, _RETURN = 0x30, 0x15, 0x06
_ROUTES_THAT_COUNT: Final = program(
    (_LOAD, 0, 0, 20),
    (_EQUAL, 0, 6, 254),
    (_LOAD, 0, 0, 17),
    (_EQUAL, 3, 0, 0),
    (_LOAD, 0, 0, 21),
    (_EQUAL, 1, 0, 2),
    (_EQUAL, 0, 1, 9),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)


class Netlink:
    """`host.Kernel` of the network namespace this process is in. `close` it in the end."""

    def __init__(self, clock: Clock, *, event_buffer: int = EVENT_BUFFER) -> None:
        self._clock = clock
        self._event_buffer = event_buffer
        self._sequence = 0
        self._control = _socket(0, _CONTROL_BUFFER)
        self._control.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._events: asyncio.Queue[KernelEvent] = asyncio.Queue()
        self._listening: list[socket.socket] = []
        self.returns_tags = _release() >= (5, 18)

    def subscribe(self) -> None:
        """Begin to collect events; a dump made after this misses nothing."""
        groups = rtnetlink.GROUP_LINK | rtnetlink.GROUP_ADDR4 | rtnetlink.GROUP_ADDR6
        self._listen(groups, routes=False)
        self._listen(rtnetlink.GROUP_ROUTE4 | rtnetlink.GROUP_ROUTE6, routes=True)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._listening:
            loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        self._control.close()

    async def events(self) -> AsyncIterator[KernelEvent]:
        """What changed since `subscribe`, in order. Never ends."""
        while True:
            yield await self._events.get()

    async def dump(self) -> KernelState:
        """The whole state of one moment. Raises OSError when the kernel refuses, or kept changing under our hands."""
        for _ in range(DUMP_TRIES):
            found = await self._dump_once()
            if found is not None:
                return found
        raise OSError(errno.EAGAIN, f"the kernel interrupted {DUMP_TRIES} dumps in a row")

    async def _dump_once(self) -> KernelState | None:
        links = await self._ask(rtnetlink.GETLINK, socket.AF_UNSPEC)
        addresses = await self._ask(rtnetlink.GETADDR, socket.AF_UNSPEC)
        routes4 = await self._ask(rtnetlink.GETROUTE, socket.AF_INET)
        routes6 = await self._ask(rtnetlink.GETROUTE, socket.AF_INET6)
        if links is None or addresses is None or routes4 is None or routes6 is None:
            return None
        now = self._clock.now()
        interfaces = [rtnetlink.read_link(message) for message in links]
        found = [rtnetlink.read_address(message, now) for message in addresses]
        routes = [rtnetlink.read_route(message) for message in (*routes4, *routes6)]
        return KernelState(
            interfaces=tuple(interface for interface in interfaces if interface is not None),
            addresses=tuple(address for address in found if address is not None),
            routes=tuple(route for route in routes if route is not None),
        )

    async def apply(self, ops: Sequence[Op]) -> Sequence[OpResult]:
        """One result per op, in order."""
        results: list[OpResult] = []
        batch: list[SetAddress | DeleteAddress] = []
        for op in ops:
            if isinstance(op, SetAddress | DeleteAddress):
                batch.append(op)
                if len(batch) == BATCH:
                    results += await self._apply_addresses(batch)
                    batch = []
                continue
            if batch:
                results += await self._apply_addresses(batch)
                batch = []
            results.append(OpResult(op, await self._change_link(op)))
        if batch:
            results += await self._apply_addresses(batch)
        if log.isEnabledFor(logging.DEBUG):
            for result in results:
                log.debug("%s", result.op, extra={"code": "netlink", "errno": result.error})
        return results

    def setting(self, name: str) -> int | None:
        """A number below /proc/sys/net of this process's namespace; None when there is none, or it is not one."""
        try:
            return int(Path("/proc/sys/net", name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    async def _change_link(self, op: MakeLink | RemoveLink) -> str | None:
        """Addresses come after the link is up, and the options before, so that IPv6 never makes one of its own."""
        try:
            if isinstance(op, RemoveLink):
                return await self._ask_once(lambda number: rtnetlink.remove_link(op.ifindex, sequence=number))
            failed = await self._ask_once(lambda number: rtnetlink.make_link(op.name, kind=op.kind, sequence=number))
            if failed is not None:
                return failed
            index = socket.if_nametoindex(op.name)
            failed = await self._ask_once(lambda number: rtnetlink.link_options(index, alias=ALIAS, sequence=number))
            return failed or await self._ask_once(lambda number: rtnetlink.set_up(index, sequence=number))
        except OSError as error:
            return _symbol(error)

    async def _ask_once(self, message: Callable[[int], bytes]) -> str | None:
        """Send one message and wait for its acknowledgement: the errno's symbol, or None."""
        self._sequence += 1
        self._control.send(message(self._sequence))
        while True:
            for answer in rtnetlink.messages(await self._receive()):
                if answer.type == rtnetlink.ERROR and answer.sequence == self._sequence:
                    return answer.error

    async def _apply_addresses(self, batch: Sequence[SetAddress | DeleteAddress]) -> list[OpResult]:
        first = self._sequence + 1
        data = b"".join(rtnetlink.address_message(op, first + index) for index, op in enumerate(batch))
        self._sequence += len(batch)
        try:
            self._control.send(data)
        except OSError as error:
            return [OpResult(op, _symbol(error)) for op in batch]
        answers: dict[int, str | None] = {}
        while len(answers) < len(batch):
            try:
                received = await self._receive()
            except OSError as error:  # what was not answered may have been done: the next dump will say
                missing = _symbol(error)
                return [OpResult(op, answers.get(first + index, missing)) for index, op in enumerate(batch)]
            for message in rtnetlink.messages(received):
                if message.type == rtnetlink.ERROR and first <= message.sequence < first + len(batch):
                    answers[message.sequence] = message.error
        return [OpResult(op, answers[first + index]) for index, op in enumerate(batch)]

    async def _ask(self, kind: int, family: int) -> list[Message] | None:
        """The messages of one dump; None when it was interrupted."""
        self._sequence += 1
        sequence = self._sequence
        self._control.send(rtnetlink.dump_request(kind, family=family, sequence=sequence))
        found: list[Message] = []
        whole = True
        turn_began = time.monotonic()
        while True:
            for message in rtnetlink.messages(await self._receive()):
                if message.sequence != sequence:
                    continue
                if message.flags & rtnetlink.INTERRUPTED:
                    whole = False
                if message.type == rtnetlink.DONE:
                    return found if whole else None
                if message.type == rtnetlink.ERROR:
                    name = message.error or "EIO"
                    raise OSError(getattr(errno, name, errno.EIO), f"netlink dump: {name}")
                found.append(message)
            if time.monotonic() - turn_began > TURN_S:
                await breathe()
                turn_began = time.monotonic()

    async def _receive(self) -> bytes:
        """The next datagram of the control socket. TimeoutError, an OSError, when the kernel does not answer."""
        with contextlib.suppress(BlockingIOError):
            return self._control.recv(_DATAGRAM)
        async with self._clock.timeout_at(self._clock.now() + ANSWER_S):
            return await asyncio.get_running_loop().sock_recv(self._control, _DATAGRAM)

    def _listen(self, groups: int, *, routes: bool) -> None:
        sock = _socket(groups, self._event_buffer, filter_=_ROUTES_THAT_COUNT if routes else b"")
        self._listening.append(sock)
        asyncio.get_running_loop().add_reader(sock, self._read_events, sock, groups, routes)

    def _read_events(self, sock: socket.socket, groups: int, routes: bool) -> None:  # noqa: FBT001 - a callback
        now = self._clock.now()
        for _ in range(_EVENTS_AT_ONCE):
            try:
                data = sock.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                log.info(
                    "events of the kernel were lost: reading everything again",
                    extra={"code": "netlinkOverrun", **failure(_symbol(error), kind="OSError")},
                )
                asyncio.get_running_loop().remove_reader(sock)
                self._listening.remove(sock)
                sock.close()
                self._listen(groups, routes=routes)
                self._events.put_nowait(Overrun())
                return
            for message in rtnetlink.messages(data):
                if (event := _event(message, now)) is not None:
                    self._events.put_nowait(event)


def _release() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _event(message: Message, now: float) -> KernelEvent | None:
    match message.type:
        case rtnetlink.NEWLINK | rtnetlink.DELLINK:
            interface = rtnetlink.read_link(message)
            return None if interface is None else LinkChanged(interface, message.type == rtnetlink.DELLINK)
        case rtnetlink.NEWADDR | rtnetlink.DELADDR:
            address = rtnetlink.read_address(message, now)
            if address is None:
                return None
            return AddressAdded(address) if message.type == rtnetlink.NEWADDR else AddressGone(address)
        case rtnetlink.NEWROUTE | rtnetlink.DELROUTE:
            return RoutesChanged()
        case _:
            return None


def _socket(groups: int, buffer: int, *, filter_: bytes = b"") -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except PermissionError:  # without CAP_NET_ADMIN in the first namespace: as much as the system allows
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if filter_:
            attach(sock, filter_)
        sock.bind((0, groups))
    except BaseException:
        sock.close()
        raise
    return sock


def _symbol(error: OSError) -> str:
    return "ETIMEDOUT" if isinstance(error, TimeoutError) else rtnetlink.symbol(error.errno or errno.EIO)

# SPDX-License-Identifier: Apache-2.0
"""The kernel of a dry run by itself: it answers like one that does what it is asked, and touches nothing."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from purelb.lbnodeagent.host import (
    TAG,
    Address,
    AddressAdded,
    AddressGone,
    DeleteAddress,
    KernelEvent,
    MakeLink,
    Op,
    RemoveLink,
    SetAddress,
)
from purelb.lbnodeagent.rehearsing import ReadOnlyKernel, SilentWire
from purelb.process.dryrun import Plan
from tests.lbnodeagent.lan import Host, Lan

if TYPE_CHECKING:
    from typing import Literal

WEB = ip_address("192.0.2.10")
OTHER = ip_address("192.0.2.11")


def put(verb: Literal["add", "renew", "change"], ip: object = WEB, *, valid_s: int | None = None) -> SetAddress:
    return SetAddress(verb=verb, ip=ip, prefixlen=32, ifindex=2, flags=0, valid_s=valid_s, preferred_s=valid_s)  # type: ignore[arg-type]


def drop(ip: object = WEB) -> DeleteAddress:
    return DeleteAddress(ip=ip, prefixlen=32, ifindex=2)  # type: ignore[arg-type]


class Desk:
    def __init__(self) -> None:
        self.lan = Lan(nodes=1)
        self.host: Host = self.lan.hosts[0]
        self.plan = Plan()
        self.kernel = ReadOnlyKernel(
            self.host,
            plan=self.plan,
            clock=self.lan.clock,
            why=lambda ip, adding: "for shop" if adding else "for nobody",
        )

    def hold(self, ip: object, **more: object) -> Address:
        address = Address(ip=ip, prefixlen=32, ifindex=2, proto=TAG, **more)  # type: ignore[arg-type]
        self.host.model.addresses[address.key] = address
        return address

    async def do(self, *ops: Op) -> list[str | None]:
        return [result.error for result in await self.kernel.apply(ops)]

    async def there(self) -> set[str]:
        state = await self.kernel.dump()
        return {str(address.ip) for address in state.addresses if address.ours}


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.kernel.dump()
    return made


async def test_what_would_be_added_is_there_until_it_is_deleted_or_ends(desk: Desk) -> None:
    assert await desk.do(put("add", valid_s=20), put("add", OTHER)) == [None, None]
    assert await desk.do(put("add")) == ["EEXIST"]
    assert await desk.there() == {"192.0.2.10", "192.0.2.11"}
    assert desk.plan.lines() == ("+ 192.0.2.10/32 dev eth0 for shop", "+ 192.0.2.11/32 dev eth0 for shop")
    await desk.lan.clock.advance(15.0)
    assert await desk.do(put("renew", valid_s=20)) == [None]
    await desk.lan.clock.advance(15.0)
    assert await desk.there() == {"192.0.2.10", "192.0.2.11"}
    await desk.lan.clock.advance(6.0)
    assert await desk.there() == {"192.0.2.11"}
    assert await desk.do(drop(OTHER), drop(OTHER)) == [None, "EADDRNOTAVAIL"]
    assert await desk.there() == set()
    assert desk.host.log == []


async def test_what_is_taken_back_is_not_left_to_do(desk: Desk) -> None:
    desk.hold(OTHER)
    await desk.kernel.dump()
    await desk.do(drop(OTHER), put("add", OTHER), put("add"), drop())
    assert desk.plan.lines() == ()
    await desk.do(drop(OTHER))
    assert desk.plan.lines() == ("- 192.0.2.11/32 dev eth0 for nobody",)
    assert desk.host.has("192.0.2.11")


async def test_links_are_imagined_as_well(desk: Desk) -> None:
    make = MakeLink(name="kube-lb0", kind="dummy")
    assert await desk.do(make, make) == [None, "EEXIST"]
    (made,) = [link for link in (await desk.kernel.dump()).interfaces if link.name == "kube-lb0"]
    assert (made.up, made.carrier, made.alias) == (True, True, "purelb")
    assert desk.plan.lines() == ("+ link kube-lb0 type dummy",)
    assert await desk.do(RemoveLink(ifindex=made.index), RemoveLink(ifindex=2)) == [None, None]
    assert {link.name for link in (await desk.kernel.dump()).interfaces} == {"lo"}
    assert desk.plan.lines() == ("- link eth0",)
    assert set(desk.host.interfaces) == {1, 2}


async def test_what_really_happens_is_told_but_for_what_would_be_otherwise(desk: Desk) -> None:
    desk.host.opened()
    mine, foreign = desk.hold(WEB), desk.hold(OTHER)
    await desk.kernel.dump()
    await desk.do(drop())
    heard: list[KernelEvent] = []

    async def listen() -> None:
        async for event in desk.kernel.events():
            heard.append(event)  # noqa: PERF401  what came before the end counts

    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        for event in (AddressAdded(mine), AddressGone(foreign), AddressAdded(foreign)):
            assert desk.host.events_ is not None
            desk.host.events_.put_nowait(event)
        await desk.lan.clock.settle()
        listening.cancel()
    assert heard == [AddressGone(foreign), AddressAdded(foreign)]


async def anext_of(wire: SilentWire) -> object:
    async for seen in wire.frames():
        return seen
    return None


async def test_the_wire_says_and_hears_nothing() -> None:
    wire = SilentWire()
    wire.use({2: b"\x02" * 6})
    assert wire.send(2, b"frame") is None
    async with asyncio.TaskGroup() as group:
        hearing = group.create_task(anext_of(wire))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not hearing.done()
        hearing.cancel()
    wire.close()

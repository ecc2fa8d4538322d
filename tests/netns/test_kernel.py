# SPDX-License-Identifier: Apache-2.0
"""The netlink shell against a real kernel: what it reads, what it does, what it survives."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from purelb.kube.clock import SystemClock
from purelb.lbnodeagent import rtnetlink
from purelb.lbnodeagent.host import (
    NODAD,
    NOPREFIXROUTE,
    PRIORITY,
    TAG,
    Address,
    AddressAdded,
    AddressGone,
    DeleteAddress,
    KernelEvent,
    LinkChanged,
    MakeLink,
    Overrun,
    RemoveLink,
    RoutesChanged,
    SetAddress,
)
from purelb.lbnodeagent.kernel import Netlink
from purelb.lbnodeagent.plan import Want, plan
from tests.lbnodeagent.kernel_model import ModelKernel
from tests.netns.conftest import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.netns

V4 = ip_address("192.0.2.10")
V6 = ip_address("2001:db8::10")


@asynccontextmanager
async def kernel(*, subscribed: bool = False, event_buffer: int = 1 << 20) -> AsyncIterator[Netlink]:
    shell = Netlink(SystemClock(), event_buffer=event_buffer)
    if subscribed:
        shell.subscribe()
    try:
        yield shell
    finally:
        shell.close()


async def index_of(shell: Netlink, name: str) -> int:
    return next(link.index for link in (await shell.dump()).interfaces if link.name == name)


def setting(ip: object = V4, **changes: object) -> SetAddress:
    address = ip_address(str(ip))
    base: dict[str, object] = {
        "verb": "add",
        "ip": address,
        "prefixlen": address.max_prefixlen,
        "ifindex": 0,
        "flags": NOPREFIXROUTE | (NODAD if address.version == 6 else 0),
        "valid_s": 20,
        "preferred_s": 0 if address.version == 6 else 20,
        "priority": PRIORITY,
    }
    return SetAddress(**{**base, **changes})  # type: ignore[arg-type]


async def ours(shell: Netlink) -> list[Address]:
    return [address for address in (await shell.dump()).addresses if address.ours]


async def until(shell: Netlink, wanted: Callable[[KernelEvent], bool], *, seconds: float = 20.0) -> KernelEvent:
    seen: list[KernelEvent] = []
    try:
        async with asyncio.timeout(seconds):
            async for event in shell.events():
                seen.append(event)
                if wanted(event):
                    return event
    except TimeoutError:
        pass
    raise AssertionError(f"not among the events: {seen[-5:]}")


async def test_the_dump_reads_links_addresses_and_the_routes_that_count(lan: str) -> None:
    run("ip", "-6", "address", "add", "2001:db8::5/64", "dev", "lan0", "nodad")
    run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9")
    run("ip", "route", "add", "203.0.113.0/24", "dev", "lan0", "metric", "7")
    async with kernel() as shell:
        state = await shell.dump()
    link = next(link for link in state.interfaces if link.name == "lan0")
    assert (link.up, link.carrier, link.mac.hex(), link.kind) == (True, True, "02000000000a", "veth")
    own = next(address for address in state.addresses if str(address.ip) == "192.0.2.5")
    assert (own.prefixlen, own.ifindex, own.ours, own.ends_at) == (24, link.index, False, None)
    routes = {(route.family, str(route.network)): route for route in state.routes}
    assert routes[4, "None"].gateways == (ip_address("192.0.2.1"),)
    assert routes[4, "None"].hops == (link.index,)
    assert routes[4, "203.0.113.0/24"].metric == 7
    assert (4, "198.51.100.0/24") not in routes
    assert (6, "2001:db8::/64") in routes


async def test_an_address_of_ours_carries_the_tag_the_lifetime_and_the_flags(lan: str) -> None:
    async with kernel() as shell:
        index = await index_of(shell, lan)
        results = await shell.apply([setting(ifindex=index), setting(V6, ifindex=index)])
        assert [result.error for result in results] == [None, None]
        now = SystemClock().now()
        found = {address.ip: address for address in await ours(shell)}
    for ip in (V4, V6):
        assert (found[ip].proto, found[ip].priority, found[ip].prefixlen) == (TAG, PRIORITY, ip.max_prefixlen)
        assert found[ip].flags & NOPREFIXROUTE
        ends_at = found[ip].ends_at
        assert ends_at is not None
        assert 18 < ends_at - now <= 20.5
    (shown,) = json.loads(run("ip", "-j", "address", "show", "dev", lan))
    six = next(entry for entry in shown["addr_info"] if entry["local"] == "2001:db8::10")
    assert six["deprecated"]
    assert six["nodad"]
    assert "192.0.2.10" not in run("ip", "route")


async def test_an_untagged_twin_is_left_as_it_was(lan: str) -> None:
    run("ip", "address", "add", "192.0.2.10/32", "dev", lan)
    async with kernel() as shell:
        index = await index_of(shell, lan)
        (result,) = await shell.apply([setting(ifindex=index)])
        assert result.error == "EEXIST"
        assert await ours(shell) == []


async def test_each_operation_fails_for_itself(lan: str) -> None:
    async with kernel() as shell:
        index = await index_of(shell, lan)
        results = await shell.apply(
            [
                setting(ifindex=index),
                setting("192.0.2.11", ifindex=9999),
                DeleteAddress(ip=ip_address("192.0.2.99"), prefixlen=32, ifindex=index),
                setting("192.0.2.12", ifindex=index),
            ]
        )
        assert [result.error for result in results] == [None, "ENODEV", "EADDRNOTAVAIL", None]
        assert {str(address.ip) for address in await ours(shell)} == {"192.0.2.10", "192.0.2.12"}


async def test_a_thousand_addresses_go_in_and_out_in_batches(lan: str) -> None:
    async with kernel() as shell:
        index = await index_of(shell, lan)
        ips = [ip_address(0x0A000000 + number) for number in range(1000)]
        assert {result.error for result in await shell.apply([setting(ip, ifindex=index) for ip in ips])} == {None}
        assert {address.ip for address in await ours(shell)} == set(ips)
        gone = [DeleteAddress(ip=ip, prefixlen=32, ifindex=index) for ip in ips]
        assert {result.error for result in await shell.apply(gone)} == {None}
        assert await ours(shell) == []


async def test_renewing_prolongs_and_changing_keeps_the_flags_that_are_given(lan: str) -> None:
    async with kernel() as shell:
        index = await index_of(shell, lan)
        await shell.apply([setting(ifindex=index, valid_s=5, preferred_s=5), setting(V6, ifindex=index, valid_s=5)])
        renewed = [setting(ip, ifindex=index, verb="renew", valid_s=100) for ip in (V4, V6)]
        assert {result.error for result in await shell.apply(renewed)} == {None}
        now = SystemClock().now()
        for address in await ours(shell):
            assert address.ends_at is not None
            assert address.ends_at - now > 90
            assert address.flags & NOPREFIXROUTE


async def test_an_address_that_nobody_renews_leaves_by_itself(lan: str) -> None:
    async with kernel(subscribed=True) as shell:
        index = await index_of(shell, lan)
        await shell.apply([setting(ifindex=index, valid_s=1, preferred_s=1)])
        event = await until(shell, lambda event: isinstance(event, AddressGone))
        assert isinstance(event, AddressGone)
        assert event.address.ip == V4


async def test_what_others_do_is_told(lan: str) -> None:
    async with kernel(subscribed=True) as shell:
        index = await index_of(shell, lan)
        await shell.apply([setting(ifindex=index)])
        await until(shell, lambda event: isinstance(event, AddressAdded) and event.address.ip == V4)
        run("ip", "address", "delete", "192.0.2.10/32", "dev", lan)
        await until(shell, lambda event: isinstance(event, AddressGone) and event.address.ip == V4)
        run("ip", "link", "set", lan, "down")
        await until(shell, lambda event: isinstance(event, LinkChanged) and not event.interface.up)
        run("ip", "link", "set", lan, "up")
        await until(shell, lambda event: isinstance(event, LinkChanged) and event.interface.carrier)
        run("ip", "link", "delete", lan)
        await until(shell, lambda event: isinstance(event, LinkChanged) and event.gone)


async def test_of_routes_only_those_that_count_are_told(lan: str) -> None:
    many = 20  # more than there are routes that the kernel makes by itself for a link that has just come up
    async with kernel(subscribed=True) as shell:
        for number in range(many):
            run("ip", "route", "add", f"198.51.{number}.0/24", "via", "192.0.2.9", "proto", "bgp")
        run("ip", "route", "replace", "default", "via", "192.0.2.2", "dev", lan)
        run("ip", "address", "add", "203.0.113.5/24", "dev", lan)
        await until(shell, lambda event: isinstance(event, RoutesChanged))
        told = 1
        try:
            async with asyncio.timeout(0.3):
                async for event in shell.events():
                    told += isinstance(event, RoutesChanged)
        except TimeoutError:
            pass
        assert told < many


async def test_after_ten_thousand_events_that_nobody_read_the_state_is_read_again_and_equal(lan: str) -> None:
    async with kernel(subscribed=True, event_buffer=65_536) as shell:
        index = await index_of(shell, lan)
        ips = [ip_address(0x0A000000 + number) for number in range(2500)]
        for _ in range(2):
            await shell.apply([setting(ip, ifindex=index, valid_s=None, preferred_s=None) for ip in ips])
            await shell.apply([DeleteAddress(ip=ip, prefixlen=32, ifindex=index) for ip in ips])
        await shell.apply([setting(ifindex=index)])
        assert await until(shell, lambda event: isinstance(event, Overrun)) == Overrun()
        assert [address.ip for address in await ours(shell)] == [V4]
        run("ip", "address", "delete", "192.0.2.10/32", "dev", lan)
        await until(shell, lambda event: isinstance(event, AddressGone) and event.address.ip == V4)


async def test_a_link_that_we_make_is_up_named_ours_promotes_secondaries_and_has_no_address(namespace: None) -> None:
    async with kernel() as shell:
        (result,) = await shell.apply([MakeLink(name="kube-lb0", kind="ifb")])
        assert result.error is None
        state = await shell.dump()
        link = next(link for link in state.interfaces if link.name == "kube-lb0")
        assert (link.up, link.alias, link.kind, link.promotes) == (True, "purelb", "ifb", True)
        assert [address for address in state.addresses if address.ifindex == link.index] == []
        assert [result.error for result in await shell.apply([RemoveLink(ifindex=link.index)])] == [None]
        assert "kube-lb0" not in run("ip", "link")


async def test_a_kind_that_the_kernel_does_not_have_is_an_errno(namespace: None) -> None:
    async with kernel() as shell:
        (result,) = await shell.apply([MakeLink(name="kube-lb0", kind="nosuchkind")])
    assert result.error == "EOPNOTSUPP"


async def test_interrupted_dumps_are_asked_for_again_and_then_an_error(
    lan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kernel() as shell:
        real = rtnetlink.messages
        left = {"count": 2}

        def interrupted(data: bytes) -> list[rtnetlink.Message]:
            found = list(real(data))
            if left["count"] > 0:
                left["count"] -= 1
                found = [
                    rtnetlink.Message(item.type, item.flags | rtnetlink.INTERRUPTED, item.sequence, item.body)
                    for item in found
                ]
            return found

        monkeypatch.setattr(rtnetlink, "messages", interrupted)
        assert {link.name for link in (await shell.dump()).interfaces} >= {"lan0", "wire0"}
        left["count"] = 10_000
        with pytest.raises(OSError, match="interrupted") as caught:
            await shell.dump()
        assert caught.value.errno == errno.EAGAIN


class Breaks(socket.socket):
    """A control socket whose n-th call fails once."""

    calls = 0
    fail_at = 0

    def _one_more(self) -> None:
        type(self).calls += 1
        if type(self).calls == self.fail_at:
            raise OSError(errno.ENOBUFS, "as if")

    def send(self, data: object, flags: int = 0, /) -> int:
        self._one_more()
        return super().send(data, flags)  # type: ignore[arg-type]

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self._one_more()
        return super().recv(size, flags)


@pytest.mark.parametrize("fail_at", range(1, 12))
async def test_whichever_call_fails_the_next_pass_reaches_the_same_end(
    lan: str, fail_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kernel() as probe:
        index = await index_of(probe, lan)
    monkeypatch.setattr(socket, "socket", Breaks)
    monkeypatch.setattr(Breaks, "calls", 0)
    monkeypatch.setattr(Breaks, "fail_at", fail_at)
    wanted = {Want(ip=ip, prefixlen=32, ifindex=index, flags=NOPREFIXROUTE) for ip in (V4, ip_address("192.0.2.11"))}
    async with kernel() as shell:
        for _ in range(3):
            try:
                state = await shell.dump()
            except OSError:
                continue
            await shell.apply(plan(wanted, state.addresses, 0.0))
        assert {address.ip for address in await ours(shell)} == {item.ip for item in wanted}


@pytest.mark.parametrize("promotes", [False, True])
async def test_the_model_of_the_kernel_does_what_the_kernel_does(lan: str, promotes: bool) -> None:
    run("ip", "link", "add", "lb0", "type", "ifb")
    run("ip", "link", "set", "lb0", "up")
    run("sysctl", "-qw", f"net.ipv4.conf.lb0.promote_secondaries={int(promotes)}")
    run("sysctl", "-qw", f"net.ipv4.conf.all.promote_secondaries={int(promotes)}")
    async with kernel() as shell:
        index = await index_of(shell, "lb0")
        assert next(link for link in (await shell.dump()).interfaces if link.index == index).promotes is promotes
        model = ModelKernel(promotes=promotes)
        remote = {"ifindex": index, "valid_s": None, "preferred_s": None, "priority": 0, "flags": 0}
        script: list[SetAddress | DeleteAddress] = [
            setting("198.51.100.1", prefixlen=24, **remote),
            setting("198.51.100.2", prefixlen=24, **remote),
            setting("198.51.100.3", prefixlen=24, **remote),
            setting("198.51.100.1", prefixlen=32, **remote),
            setting("198.51.100.2", prefixlen=24, **remote),
            setting("2001:db8:9::1", prefixlen=64, **{**remote, "flags": NODAD}),
            setting("2001:db8:9::1", prefixlen=128, **{**remote, "flags": NODAD}),
            setting("2001:db8:9::1", prefixlen=64, verb="change", **{**remote, "flags": NODAD | NOPREFIXROUTE}),
            DeleteAddress(ip=ip_address("198.51.100.1"), prefixlen=24, ifindex=index),
            DeleteAddress(ip=ip_address("198.51.100.77"), prefixlen=24, ifindex=index),
            setting("198.51.100.2", prefixlen=24, verb="renew", **{**remote, "flags": NOPREFIXROUTE}),
        ]
        for number, op in enumerate(script):
            (real,) = await shell.apply([op])
            assert real.error == model.apply(op, 0.0).error, (number, op)
            mask = NODAD | NOPREFIXROUTE | 1
            present = {address.key: address.flags & mask for address in await ours(shell)}
            expected = {key: address.flags & mask for key, address in model.addresses.items()}
            assert present == expected, (number, op)


async def test_three_addresses_of_one_network_lose_their_primary_and_the_others_are_back_in_the_batch(lan: str) -> None:
    run("ip", "link", "add", "lb0", "type", "ifb")
    run("ip", "link", "set", "lb0", "up")
    async with kernel() as shell:
        index = await index_of(shell, "lb0")
        three = [
            Want(ip=ip_address(f"198.51.100.{number}"), prefixlen=24, ifindex=index, flags=0) for number in (1, 2, 3)
        ]
        await shell.apply(plan(three, (await shell.dump()).addresses, 0.0))
        await shell.apply(plan(three[1:], (await shell.dump()).addresses, 0.0))
        left = await ours(shell)
        assert {address.ip for address in left} == {item.ip for item in three[1:]}
        assert plan(three[1:], left, 0.0) == ()
        assert ip_network("198.51.100.0/24") in {route.network for route in (await shell.dump()).routes}


async def test_ipv6_that_is_switched_off_refuses_and_ipv4_does_not_mind(lan: str) -> None:
    run("sysctl", "-qw", f"net.ipv6.conf.{lan}.disable_ipv6=1")
    async with kernel() as shell:
        index = await index_of(shell, lan)
        results = await shell.apply([setting(V6, ifindex=index), setting(ifindex=index)])
        assert [result.error for result in results] == ["EACCES", None]

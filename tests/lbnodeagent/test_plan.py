# SPDX-License-Identifier: Apache-2.0
"""`plan` against a model of the kernel: what it leaves, what it never touches, what it may do when calls fail."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.lbnodeagent.host import NODAD, NOPREFIXROUTE, PRIORITY, SECONDARY, TAG, Address, DeleteAddress, SetAddress
from purelb.lbnodeagent.plan import Want, plan, undeletable
from tests.lbnodeagent.kernel_model import ModelKernel

V4 = IPv4Address("192.0.2.10")
V6 = IPv6Address("2001:db8::10")


def want(ip: str = "192.0.2.10", **changes: object) -> Want:
    address = ip_address(ip)
    flags = NOPREFIXROUTE | (NODAD if address.version == 6 else 0)
    base: dict[str, object] = {"ip": address, "prefixlen": address.max_prefixlen, "ifindex": 2, "flags": flags}
    return Want(**{**base, **changes})  # type: ignore[arg-type]


def have(ip: str = "192.0.2.10", **changes: object) -> Address:
    address = ip_address(ip)
    flags = NOPREFIXROUTE | (NODAD if address.version == 6 else 0)
    base: dict[str, object] = {
        "ip": address,
        "prefixlen": address.max_prefixlen,
        "ifindex": 2,
        "flags": flags,
        "proto": TAG,
    }
    return Address(**{**base, **changes})  # type: ignore[arg-type]


def verbs(wanted: set[Want], found: list[Address], *, promotes: dict[int, bool] | None = None) -> list[str]:
    return [op.verb for op in plan(wanted, found, 100.0, promotes=promotes)]


def test_nothing_is_done_when_what_is_wanted_is_there() -> None:
    assert plan({want(ends_at=120.0)}, [have(ends_at=119.0)], now=100.0) == ()


def test_what_is_missing_is_added_with_what_is_left_of_the_sweep() -> None:
    (op,) = plan({want(ends_at=117.4)}, [], now=100.0)
    assert isinstance(op, SetAddress)
    assert (op.verb, op.valid_s, op.preferred_s) == ("add", 18, 18)


def test_a_permanent_address_has_no_lifetime() -> None:
    (op,) = plan({want()}, [], now=100.0)
    assert isinstance(op, SetAddress)
    assert (op.valid_s, op.preferred_s) == (None, None)


def test_an_ipv6_vip_is_deprecated_from_the_start() -> None:
    (op,) = plan({want("2001:db8::10", ends_at=120.0, preferred=0)}, [], now=100.0)
    assert isinstance(op, SetAddress)
    assert (op.valid_s, op.preferred_s) == (20, 0)


def test_an_address_that_ends_before_the_sweep_is_renewed_and_one_that_ends_with_it_is_not() -> None:
    assert verbs({want(ends_at=120.0)}, [have(ends_at=112.0)]) == ["renew"]
    assert verbs({want(ends_at=120.0)}, [have(ends_at=None)]) == ["renew"]
    assert verbs({want()}, [have(ends_at=112.0)]) == ["renew"]


def test_a_lifetime_that_has_ended_is_neither_renewed_nor_changed_because_the_kernel_would_create_the_address() -> None:
    assert verbs({want(ends_at=120.0)}, [have(ends_at=100.1)]) == ["renew"]
    assert verbs({want(ends_at=120.0)}, [have(ends_at=100.0)]) == []
    assert verbs({want("2001:db8::10", ends_at=120.0)}, [have("2001:db8::10", flags=0, ends_at=99.0)]) == []


def test_what_is_ours_and_unwanted_goes_and_what_is_not_ours_stays() -> None:
    ours, theirs = have(), have("192.0.2.11", proto=None)
    assert plan(set(), [ours, theirs], now=0.0) == (DeleteAddress(ip=V4, prefixlen=32, ifindex=2),)


def test_on_a_kernel_without_the_tag_the_priority_says_what_is_ours() -> None:
    assert verbs(set(), [have(proto=None, priority=PRIORITY)]) == ["delete"]
    assert verbs(set(), [have(proto=0, priority=PRIORITY)]) == ["delete"]
    assert verbs(set(), [have(proto=4, priority=PRIORITY)]) == []


def test_an_untagged_twin_is_left_alone_and_nothing_is_added_beside_it() -> None:
    assert verbs({want()}, [have(proto=None)]) == []
    assert verbs({want()}, [have(proto=None, prefixlen=24)]) == []


def test_a_move_to_another_interface_adds_there_before_it_deletes_here() -> None:
    assert verbs({want(ifindex=3)}, [have()]) == ["add", "delete"]


def test_a_new_prefix_length_adds_before_it_deletes_for_ipv4_and_the_other_way_round_for_ipv6() -> None:
    assert verbs({want(prefixlen=24)}, [have()]) == ["add", "delete"]
    assert verbs({want("2001:db8::10", prefixlen=64)}, [have("2001:db8::10")]) == ["delete", "add"]


def test_flags_are_corrected_in_the_way_each_family_allows() -> None:
    assert verbs({want()}, [have(flags=0)]) == ["delete", "add"]
    assert verbs({want("2001:db8::10")}, [have("2001:db8::10", flags=0)]) == ["change"]


def test_flags_that_the_kernel_sets_itself_are_no_difference() -> None:
    assert verbs({want()}, [have(flags=NOPREFIXROUTE | 0x80)]) == []


def test_secondaries_go_before_their_primary() -> None:
    found = [have(prefixlen=24), have("192.0.2.11", prefixlen=24, flags=NOPREFIXROUTE | SECONDARY)]
    gone = plan(set(), found, now=0.0)
    assert [op.ip for op in gone if isinstance(op, DeleteAddress)] == [IPv4Address("192.0.2.11"), V4]


def test_a_wanted_secondary_comes_back_in_the_same_batch_when_its_primary_has_to_go() -> None:
    found = [have(prefixlen=24), have("192.0.2.11", prefixlen=24, flags=NOPREFIXROUTE | SECONDARY)]
    kept = want("192.0.2.11", prefixlen=24)
    assert verbs({kept}, found) == ["delete", "add"]
    assert verbs({kept}, found, promotes={2: True}) == ["delete"]


def test_a_primary_that_carries_an_untagged_secondary_stays_and_is_named() -> None:
    found = [have(prefixlen=24), have("192.0.2.11", prefixlen=24, flags=SECONDARY, proto=None)]
    assert verbs(set(), found) == []
    assert undeletable(found, set(), promotes={}) == (found[0],)
    assert verbs(set(), found, promotes={2: True}) == ["delete"]


ips = st.sampled_from(["192.0.2.10", "192.0.2.11", "192.0.2.12", "198.51.100.1", "2001:db8::10", "2001:db8::11"])


@st.composite
def wants(draw: st.DrawFn) -> frozenset[Want]:
    found = {}
    for _ in range(draw(st.integers(0, 5))):
        address = ip_address(draw(ips))
        length = draw(st.sampled_from([24, 32] if address.version == 4 else [64, 128]))
        item = Want(
            ip=address,
            prefixlen=length,
            ifindex=draw(st.sampled_from([2, 3])),
            flags=draw(st.sampled_from([0, NOPREFIXROUTE])) | (NODAD if address.version == 6 else 0),
            ends_at=draw(st.sampled_from([None, 120.0])),
            preferred=draw(st.sampled_from([None, 0])),
            priority=PRIORITY,
        )
        found[address, item.ifindex] = item  # the kernel's own rule for IPv6, and ours for IPv4
    return frozenset(found.values())


@st.composite
def kernels(draw: st.DrawFn) -> ModelKernel:
    model = ModelKernel(promotes=draw(st.booleans()), tags=draw(st.booleans()))
    priority = 0 if model.tags else PRIORITY
    for _ in range(draw(st.integers(0, 6))):
        address = ip_address(draw(ips))
        op = SetAddress(
            verb="add",
            ip=address,
            prefixlen=draw(st.sampled_from([24, 32] if address.version == 4 else [64, 128])),
            ifindex=draw(st.sampled_from([2, 3])),
            flags=draw(st.sampled_from([0, NOPREFIXROUTE])),
            valid_s=draw(st.sampled_from([None, 5, 20])),
            preferred_s=None,
            priority=priority,
        )
        if model.apply(op, 100.0).error is None and draw(st.booleans()):
            key = (op.ip, op.prefixlen, op.ifindex)
            found = model.addresses[key]
            model.addresses[key] = Address(
                ip=found.ip, prefixlen=found.prefixlen, ifindex=found.ifindex, flags=found.flags, ends_at=found.ends_at
            )
    return model


def run(model: ModelKernel, wanted: frozenset[Want], now: float = 100.0) -> tuple[object, ...]:
    ops = plan(wanted, model.addresses.values(), now, promotes={2: model.promotes, 3: model.promotes})
    for op in ops:
        model.apply(op, now)
    return ops


def reachable(model: ModelKernel, wanted: frozenset[Want]) -> set[object]:
    """What can be had without touching what is not ours."""
    foreign = {(address.ip, address.ifindex) for address in model.addresses.values() if not address.ours}
    ours = {address.key for address in model.addresses.values() if address.ours}
    return {item.key for item in wanted if (item.ip, item.ifindex) not in foreign or item.key in ours}


@given(kernels(), wants())
def test_after_the_plan_the_tagged_addresses_are_those_wanted_and_the_others_are_as_they_were(
    model: ModelKernel, wanted: frozenset[Want]
) -> None:
    before = {key: address for key, address in model.addresses.items() if not address.ours}
    expected = reachable(model, wanted)
    stuck = {
        address.key
        for address in undeletable(model.addresses.values(), wanted, promotes={2: model.promotes, 3: model.promotes})
    }
    run(model, wanted)
    after = {key: address for key, address in model.addresses.items() if not address.ours}
    assert set(after) == set(before)
    ours = {key for key, address in model.addresses.items() if address.ours}
    assert expected <= ours
    assert ours <= expected | stuck
    again = plan(wanted, model.addresses.values(), 100.0, promotes={2: model.promotes, 3: model.promotes})
    assert again == ()


@given(kernels(), wants(), st.dictionaries(st.integers(1, 8), st.sampled_from(["EPERM", "ENOBUFS", "ENODEV"])))
def test_a_call_that_fails_delays_only_itself_and_the_next_plan_repairs_it(
    model: ModelKernel, wanted: frozenset[Want], fails: dict[int, str]
) -> None:
    untouched = {key: address for key, address in model.addresses.items() if not address.ours}
    expected = reachable(model, wanted)
    model.count, model.fails = 0, fails
    run(model, wanted)
    model.fails = {}
    for _ in range(3):
        run(model, wanted)
    assert expected <= {key for key, address in model.addresses.items() if address.ours}
    assert set(untouched) == {key for key, address in model.addresses.items() if not address.ours}


@given(kernels(), wants())
def test_a_vip_that_is_wanted_and_there_never_lapses_except_where_the_family_demands_it(
    model: ModelKernel, wanted: frozenset[Want]
) -> None:
    carried = {item.ip for item in wanted} & {address.ip for address in model.addresses.values() if address.ours}
    ops = plan(wanted, model.addresses.values(), 100.0, promotes={2: True, 3: True})
    model.promotes = True
    corrected = {
        op.ip  # IPv6 holds an address once per link; IPv4 cannot change NOPREFIXROUTE in place
        for op in ops
        if isinstance(op, DeleteAddress)
        for item in wanted
        if item.ip == op.ip and item.ifindex == op.ifindex and (op.ip.version == 6 or item.prefixlen == op.prefixlen)
    }
    for op in ops:
        model.apply(op, 100.0)
        present = {address.ip for address in model.addresses.values()}
        assert carried - corrected <= present


@pytest.mark.parametrize("version", [4, 6])
def test_the_plan_does_not_depend_on_the_order_of_the_dump(version: int) -> None:
    base = "192.0.2." if version == 4 else "2001:db8::"
    found = [have(f"{base}{number}") for number in range(1, 6)]
    wanted = {want(f"{base}{number}") for number in range(4, 9)}
    assert plan(wanted, found, now=0.0) == plan(wanted, found[::-1], now=0.0)

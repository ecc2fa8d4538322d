# SPDX-License-Identifier: Apache-2.0
"""What a node says about itself: whole, bounded, ordered, and the same as long as nothing is different."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec

from purelb.api.kinds import NodeReport
from purelb.api.nodeagents import AgentSettings
from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.config import Configuration
from purelb.lbnodeagent.desired import Withhold
from purelb.lbnodeagent.host import TAG, Address, KernelState
from purelb.lbnodeagent.report import only_remote_differs, report
from purelb.lbnodeagent.state import State
from purelb.lbnodeagent.vipwords import Vip
from tests.lbnodeagent.test_links import ETH0, address, default, laid, link

DUMMY = link(9, "kube-lb0")


def state(held: int = 0, remote: int = 0, withheld: int = 0) -> State:
    found = State(node="n1", duration=10, now=0.0)
    found.configuration = Configuration(state="configured", settings=AgentSettings(), source="purelb/default")
    found.layout = laid((ETH0, DUMMY), (address("192.0.2.5/24"),), (default(),), extra=("gone0",))
    tagged = []
    for number in range(held):
        ip = ip_address(0x0A000000 + number)
        found.asked.claims[ip] = Claim(ip=ip, announce="local", services=("shop/web",))
        found.vips[ip] = Vip(ip=ip, state="Holding", on=2)
    for number in range(remote):
        ip = ip_address(0x0B000000 + number)
        found.asked.claims[ip] = Claim(ip=ip, announce="remote", services=("shop/far",), prefixlen=24)
        tagged.append(Address(ip=ip, prefixlen=24, ifindex=9, proto=TAG))
    for number in range(withheld):
        ip = ip_address(0x0C000000 + number)
        found.asked.claims[ip] = Claim(ip=ip, announce="local", services=("shop/no",))
        found.withheld[ip] = Withhold("AnnouncementFailed", "x" * 1000)
    found.present.load(KernelState(interfaces=(ETH0, DUMMY), addresses=tuple(tagged)))
    return found


def made(of: State, *, wall: str = "now", before: dict[str, Any] | None = None, stale: bool = False) -> dict[str, Any]:
    return report(of, instance="i1", version="1", stale=stale, wall=wall, before=before or {})


def test_a_report_is_what_the_schema_knows_and_says_what_is_odd() -> None:
    body = made(state(held=1, remote=1, withheld=1))
    read = msgspec.convert(body, NodeReport, strict=True)
    assert read.config is not None
    assert read.config.message == "interface gone0 does not exist"
    assert [(entry.name, entry.role) for entry in read.interfaces or ()] == [("eth0", "local"), ("kube-lb0", "dummy")]
    assert (read.announced_count, read.withheld_count) == (1, 1)
    assert [entry.message for entry in read.withheld or ()] == ["x" * 256]


def test_lists_are_cut_sorted_and_counted_exactly_and_stay_below_half_a_mebibyte() -> None:
    body = made(state(held=2000, remote=10_000))
    assert (body["announcedCount"], body["remote"]["count"], len(body["remote"]["addresses"])) == (2000, 10_000, 1024)
    assert body["remote"]["addresses"][:2] == ["11.0.0.0/24", "11.0.0.1/24"]
    assert [entry["ip"] for entry in body["announced"][:3]] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    assert len(msgspec.json.encode(body)) < 512 * 1024


def test_the_instant_since_when_is_kept_while_nothing_changes_and_new_for_what_is_new() -> None:
    of = state(held=1, withheld=1)
    first = made(of, wall="then")
    assert made(of, wall="now", before=first) == first
    ip = ip_address("10.0.0.9")
    of.asked.claims[ip] = Claim(ip=ip, announce="local", services=("shop/new",))
    of.vips[ip] = Vip(ip=ip, state="Holding", on=2)
    second = made(of, wall="now", before=first)
    assert [entry["since"] for entry in second["announced"]] == ["then", "now"]


def test_the_state_of_failure_detection_says_the_worst() -> None:
    of = state()
    assert made(of)["failureDetection"]["state"] == "fit"
    assert made(of, stale=True)["failureDetection"]["state"] == "holding"
    of.leaving = True
    assert made(of, stale=True)["failureDetection"]["state"] == "draining"
    of.fenced = True
    assert made(of, stale=True)["failureDetection"]["state"] == "fenced"


def test_a_change_of_remote_addresses_alone_is_told_apart() -> None:
    one, other = made(state(remote=1)), made(state(remote=2))
    assert only_remote_differs(one, other)
    assert not only_remote_differs(one, one)
    assert not only_remote_differs(one, made(state(held=1, remote=1)))

# SPDX-License-Identifier: Apache-2.0
"""Old names in Services: when a peer is asked, what its answer settles, and whole agents without an allocator."""

from __future__ import annotations

from ipaddress import IPv4Address

from purelb.api.kinds import LB_NODE_STATUSES, Announced, LBNodeStatus, NodeReport
from purelb.kube.resources import NODES, SERVICES
from purelb.lbnodeagent.asking import listed
from purelb.lbnodeagent.contests import Contests
from purelb.net.ranges import IPAddress
from tests.lbnodeagent.lan import INSTALL, Lan

IP, OTHER = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11")
WEB = str(IP)


def test_a_named_peer_is_asked_after_three_seconds_and_its_denial_counts_for_a_moment() -> None:
    contests = Contests()
    contests.contested(IP, "q", 100.0)
    contests.contested(IP, "q", 102.0)
    assert (contests.ask(102.9), contests.ask(103.0)) == (None, "q")
    assert contests.told("q", frozenset({OTHER}), asked_at=103.0, now=103.1) == {IP}
    assert contests.denied(IP, {"q", "r"}, 103.1) == {"q"}
    assert contests.denied(IP, {"q", "r"}, 113.1) == frozenset()


def test_one_question_a_second_whoever_it_is_for() -> None:
    contests = Contests()
    contests.contested(IP, "q", 100.0)
    contests.contested(OTHER, "r", 100.0)
    assert [contests.ask(at) for at in (103.0, 103.5)] == ["q", None]
    contests.told("q", frozenset(), asked_at=103.0, now=103.1)
    assert [contests.ask(at) for at in (103.9, 104.0)] == [None, "r"]


def test_a_peer_that_lists_the_address_is_believed_for_a_minute() -> None:
    contests = Contests()
    contests.contested(IP, "q", 100.0)
    contests.ask(103.0)
    assert contests.told("q", frozenset({IP}), asked_at=103.0, now=103.1) == frozenset()
    assert contests.deadline() == 163.1


def test_a_report_that_could_not_be_read_is_asked_for_again_with_growing_pauses_and_settles_nothing() -> None:
    contests, now, pauses = Contests(), 103.0, []
    contests.contested(IP, "q", 100.0)
    for _ in range(8):
        contests.ask(now)
        assert contests.told("q", None, asked_at=now, now=now) == frozenset()
        due = contests.deadline()
        assert due is not None
        pauses.append(due - now)
        now = due
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_answer_to_a_question_that_was_asked_before_the_contest_was_old_enough_settles_nothing() -> None:
    contests = Contests()
    contests.contested(IP, "q", 100.0)
    assert contests.told("q", frozenset(), asked_at=102.0, now=103.5) == frozenset()


def test_a_contest_that_is_over_is_not_asked_about() -> None:
    contests = Contests()
    contests.contested(IP, "q", 100.0)
    contests.over(IP)
    assert (contests.deadline(), contests.ask(200.0)) == (None, None)


def test_a_report_that_is_cut_off_or_says_nothing_is_not_known() -> None:
    entry = Announced(ip=WEB)
    assert listed(LBNodeStatus(status=NodeReport(announced=(entry,), announced_count=1))) == frozenset[IPAddress]({IP})
    assert listed(LBNodeStatus(status=NodeReport(announced=(entry,), announced_count=2))) is None
    assert listed(LBNodeStatus(status=NodeReport(announced=None))) is None
    assert listed(LBNodeStatus()) is None


async def named(cluster: Lan, node: str) -> None:
    """What the allocator wrote before it went away."""
    note = {"metadata": {"annotations": {"purelb.io/announcing-IPv4": f"{node},eth0,{WEB}"}}}
    await cluster.patch(SERVICES, "web", note, "shop")


async def on_nobody(cluster: Lan) -> tuple[str, str]:
    """A Service on no node that names a living one which never heard of it; the winner and the named."""
    await cluster.prepare()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(1.0)
        (winner,) = cluster.answering(WEB)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(2.0)
    return winner, next(host.name for host in cluster.hosts if host.name != winner)


async def named_before_it_has_an_address(cluster: Lan, node: str) -> None:
    await cluster.serve("web", group="lan")
    await named(cluster, node)
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": WEB, "ipMode": "VIP"}]}}}
    await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")


async def test_a_name_that_its_bearer_denies_does_not_keep_an_address_off_the_link_without_an_allocator() -> None:
    cluster = Lan()
    winner, other = await on_nobody(cluster)
    async with cluster.running():
        await named_before_it_has_an_address(cluster, other)
        await cluster.clock.advance(2.9)
        assert cluster.answering(WEB) == []
        await cluster.clock.advance(1.5)
        assert cluster.answering(WEB) == [winner]
        await cluster.clock.advance(60.0)
        assert cluster.answering(WEB) == [winner]


async def test_a_report_that_is_missing_or_was_left_by_an_earlier_process_denies_nothing() -> None:
    cluster = Lan()
    winner, other = await on_nobody(cluster)
    async with cluster.running():
        await cluster.patch(LB_NODE_STATUSES, other, {"status": {"instance": "an earlier one"}}, INSTALL)
        await named_before_it_has_an_address(cluster, other)
        await cluster.clock.advance(10.0)
        assert cluster.answering(WEB) == []
        await cluster.admin.delete(LB_NODE_STATUSES, other, namespace=INSTALL)
        await cluster.clock.advance(30.0)
        assert cluster.answering(WEB) == []
        await cluster.patch(NODES, other, {"spec": {"unschedulable": True}})  # it reports again, as draining
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == [winner]


async def test_a_holder_that_is_named_and_holds_is_left_alone_and_rarely_asked() -> None:
    cluster = Lan()
    await cluster.prepare(failback="Never")
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (first,) = cluster.answering(WEB)
        await crew.leave(first)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (heir,) = cluster.answering(WEB)
        crew.start(first, pod_uid="again")
        await cluster.clock.advance(300.0)
        assert cluster.answering(WEB) == [heir]

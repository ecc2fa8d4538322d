# SPDX-License-Identifier: Apache-2.0
"""Life and death by what we saw change, on our own clock, and what a lease may say without harm."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from purelb.api import leases
from purelb.kube.model import Lease, LeaseSpec, ObjectMeta
from purelb.lbnodeagent.membership import Membership, print_offers, read_networks, read_offers, read_peer
from purelb.lbnodeagent.ownlease import LeaseIntent, body, duration_of

if TYPE_CHECKING:
    from purelb.net.ranges import IPAddress


def lease(node: str = "q", *, renewed: str = "t1", duration: int = 10, **notes: str) -> Lease:
    named = {f"purelb.io/{name.replace('_', '-')}": value for name, value in notes.items()}
    return Lease(
        metadata=ObjectMeta(
            name=f"purelb-node-{node}",
            labels=leases.labels(leases.LBNODEAGENT),
            annotations={leases.INSTANCE: "i1", leases.SUBNETS: "192.0.2.0/24", **named},
        ),
        spec=LeaseSpec(holder_identity=node, lease_duration_seconds=duration, renew_time=renewed),
    )


def members() -> Membership:
    return Membership(me="me", duration=10)


def confirmed(group: Membership, sent_at: float, seen_at: float) -> None:
    group.sending(f"mine-{sent_at}", sent_at)
    group.saw(lease("me", renewed=f"mine-{sent_at}"), seen_at)


def test_a_peer_lives_until_its_lease_stood_still_for_as_long_as_it_promised_and_is_only_suspect_then() -> None:
    group = members()
    group.saw(lease(), 100.0)
    group.saw(lease(), 109.0)
    assert (group.seen("q", 109.9), group.seen("q", 110.0)) == ("alive", "suspect")
    assert group.suspects(110.0) == ("q",)
    assert group.standings(110.0)["q"].liveness == "alive"


def test_each_start_of_an_agent_is_another_process_and_a_renewal_is_not() -> None:
    def process(acquired: str, *, renewed: str = "t1", instance: str = "i1") -> str:
        made = lease(renewed=renewed, instance=instance)
        assert made.spec is not None
        group = members()
        group.saw(replace(made, spec=replace(made.spec, acquire_time=acquired)), 100.0)
        return group.standings(100.0)["q"].process

    assert process("a1", renewed="t1") == process("a1", renewed="t2")
    assert len({process("a1"), process("a2"), process("a1", instance="i2")}) == 3


def test_a_suspect_is_dead_once_a_renewal_of_ours_that_was_sent_after_the_expiry_came_back() -> None:
    group = members()
    group.saw(lease(), 100.0)
    confirmed(group, sent_at=109.9, seen_at=110.5)
    assert group.seen("q", 110.5) == "suspect"
    confirmed(group, sent_at=110.0, seen_at=110.6)
    assert group.seen("q", 110.6) == "dead"
    assert group.suspects(110.6) == ()


def test_an_echo_that_came_before_the_expiry_was_noticed_counts_when_it_was_sent_after_it() -> None:
    group = members()
    group.saw(lease(duration=10), 100.0)
    group.sending("mine", 111.0)
    group.saw(lease("me", renewed="mine"), 111.1)
    assert group.seen("q", 111.2) == "dead"


def test_words_in_our_lease_that_we_did_not_write_prove_nothing() -> None:
    group = members()
    group.saw(lease(), 100.0)
    group.saw(lease("me", renewed="somebody wrote this"), 120.0)
    assert group.seen("q", 120.0) == "suspect"


def test_a_renewal_brings_a_dead_peer_back_and_its_thirty_seconds_begin_again() -> None:
    group = members()
    group.saw(lease(), 100.0)
    confirmed(group, sent_at=110.0, seen_at=110.1)
    group.saw(lease(renewed="t2"), 150.0)
    assert group.seen("q", 150.0) == "alive"
    assert group.standings(150.0)["q"].alive_since == 150.0


def test_a_peer_that_renews_in_time_is_alive_since_it_was_first_seen() -> None:
    group = members()
    for turn in range(5):
        group.saw(lease(renewed=f"t{turn}"), 100.0 + 3 * turn)
    assert group.standings(113.0)["q"].alive_since == 100.0


def test_a_deleted_lease_is_a_departure_at_once() -> None:
    group = members()
    group.saw(lease(), 100.0)
    group.gone("q")
    assert (group.seen("q", 100.0), group.standings(100.0)) == ("dead", {})


def test_after_our_own_silence_every_peer_gets_a_full_duration() -> None:
    group = members()
    group.saw(lease(), 100.0)
    confirmed(group, sent_at=110.0, seen_at=110.1)
    group.recovered(200.0)
    assert (group.seen("q", 209.9), group.seen("q", 210.0)) == ("alive", "suspect")


def test_a_draining_peer_is_seen_as_such_and_its_offers_to_us_are_known_while_it_lives() -> None:
    group = members()
    offers = print_offers({ip_address("192.0.2.10"): "me", ip_address("192.0.2.11"): "r"})
    group.saw(lease(draining="true", offers=offers), 100.0)
    assert group.seen("q", 101.0) == "draining"
    assert group.offers_to_me() == {ip_address("192.0.2.10"): "q"}
    confirmed(group, sent_at=111.0, seen_at=111.1)
    assert group.offers_to_me() == {}


@pytest.mark.parametrize(
    ("name", "labelled"), [("purelb-allocator", True), ("purelb-node-q", False), ("purelb-node-", True), ("x", True)]
)
def test_a_lease_of_somebody_else_is_nobody(name: str, labelled: bool) -> None:
    found = Lease(metadata=ObjectMeta(name=name, labels=leases.labels("lbnodeagent" if labelled else "allocator")))
    assert read_peer(found, default_duration=10) is None


def test_a_lease_of_nothing_but_a_name_is_a_member_without_subnets() -> None:
    found = read_peer(
        Lease(metadata=ObjectMeta(name="purelb-node-q", labels=leases.labels(leases.LBNODEAGENT)), spec=None),
        default_duration=10,
    )
    assert found is not None
    assert (found.networks, found.duration, found.offers) == ((), 10.0, {})


def test_hostile_annotations_are_dropped_in_part() -> None:
    assert read_networks("192.0.2.0/24,0.0.0.0/0,10.0.0.0/7,::/0,2001:db8::/64,junk") == (
        ip_network("192.0.2.0/24"),
        ip_network("2001:db8::/64"),
    )
    assert read_networks("192.0.2.0/24," * 1_000_000) == ()
    assert len(read_networks(",".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(1000)))) <= 256
    assert read_offers("192.0.2.10=me junk =x 192.0.2.11= 192.0.2.12=r") == {
        ip_address("192.0.2.10"): "me",
        ip_address("192.0.2.12"): "r",
    }


@given(st.text(max_size=200))
def test_no_text_in_a_lease_makes_reading_it_fail(text: str) -> None:
    read_networks(text)
    read_offers(text)
    read_peer(lease(offers=text, draining=text, subnets=text, instance=text), default_duration=10)


addresses = st.integers(0x0A000000, 0x0A0000FF)


@given(st.dictionaries(st.builds(ip_address, addresses), st.sampled_from(["a", "node-b", "c.d.e"]), max_size=64))
def test_offers_read_back_as_they_were_printed(offers: dict[IPAddress, str]) -> None:
    assert read_offers(print_offers(offers)) == offers


@given(
    st.lists(
        st.tuples(st.sampled_from(["renew", "echo", "wait"]), st.floats(0.1, 30.0), st.text(max_size=8)), max_size=20
    )
)
def test_a_verdict_dead_always_rests_on_an_expiry_and_an_echo_sent_after_it(
    events: list[tuple[str, float, str]],
) -> None:
    group = members()
    now, changed, echoed, text = 0.0, 0.0, -1.0, "t0"
    group.saw(lease(renewed=text), now)
    for number, (kind, pause, words) in enumerate(events):
        now += pause
        if kind == "renew":  # whatever a peer writes as its time: only that it changed counts
            if words != text:
                text, changed = words, now
            group.saw(lease(renewed=text), now)
        elif kind == "echo":
            group.sending(f"mine-{number}", now)
            group.saw(lease("me", renewed=f"mine-{number}"), now)
            echoed = now
        assert (group.seen("q", now) == "dead") == (now >= changed + 10 and echoed >= changed + 10)


def intent(**changes: object) -> LeaseIntent:
    base: dict[str, object] = {
        "node": "n1",
        "node_uid": "u1",
        "instance": "i1",
        "duration": 10,
        "networks": (ip_network("192.168.1.0/24"), ip_network("fd00::/64")),
    }
    return LeaseIntent(**{**base, **changes})  # type: ignore[arg-type]


def test_a_new_lease_says_everything_and_nothing_twice() -> None:
    assert body(intent(), renew_time="now", acquire_time="now", known=None) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "purelb-node-n1",
            "labels": {
                "app.kubernetes.io/name": "purelb",
                "app.kubernetes.io/component": "lbnodeagent",
                "purelb.io/agent-api": "1",
                "subnet.purelb.io/d01a825c13": "",
                "subnet.purelb.io/ccb44c2b8f": "",
            },
            "annotations": {"purelb.io/subnets": "192.168.1.0/24,fd00::/64", "purelb.io/instance": "i1"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": "n1",
                    "uid": "u1",
                    "controller": False,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 10, "renewTime": "now", "acquireTime": "now"},
    }


def test_a_renewal_takes_back_what_is_not_meant_any_more() -> None:
    known = Lease(
        metadata=ObjectMeta(
            name="purelb-node-n1",
            labels={"subnet.purelb.io/0123456789": "", "other": "kept"},
            annotations={leases.DRAINING: "true", leases.OFFERS: "192.0.2.1=q", "theirs": "kept"},
        )
    )
    patch = body(intent(networks=()), renew_time="now", acquire_time=None, known=known)
    metadata = patch["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["labels"]["subnet.purelb.io/0123456789"] is None
    assert "other" not in metadata["labels"]
    assert metadata["annotations"][leases.DRAINING] is None
    assert metadata["annotations"][leases.OFFERS] is None
    assert "name" not in metadata


def test_the_duration_grows_by_the_hundred_and_does_not_oscillate_at_the_step() -> None:
    current, seen = 10, []
    for count in (1, 100, 101, 100, 99, 91, 90, 101, 201, 200, 181, 180):
        current = duration_of(10, members=count, current=current)
        seen.append(current)
    assert seen == [10, 10, 20, 20, 20, 20, 10, 20, 30, 30, 30, 20]

# SPDX-License-Identifier: Apache-2.0
"""Sharing among many: what a crowd answers at once is what each of its members, asked one by one, would have answered.

The slow and obvious models are in this file: `clash` for every pair, and who has to go of those on one address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.learning import blame, learn_all
from purelb.allocator.ledger import Ledger
from purelb.allocator.serving import Rules
from purelb.allocator.sharing import Crowd, Facts, clash
from purelb.kube.model import Condition
from tests.allocator.objects import ip, service

if TYPE_CHECKING:
    from purelb.allocator.claims import Contest, Holder
    from purelb.kube.model import Service

PORTS = (("TCP", 53), ("UDP", 53), ("TCP", 80))
FACTS = st.builds(
    Facts,
    key=st.sampled_from((None, "k", "k2")),
    ports=st.frozensets(st.sampled_from(PORTS), max_size=2),
    namespace=st.sampled_from(("shop", "bank")),
    selector=st.sampled_from(((("app", "x"),), (("app", "y"),))),
    local=st.booleans(),
)
ADDRESS = ip("192.0.2.10")
WORDS = ("", "", "InUse", "SharingKeyMismatch", "SharingPolicyMismatch", "AddressConflict")


@given(st.lists(FACTS, max_size=6), FACTS)
def test_a_crowd_knows_every_reason_for_which_one_of_it_may_not_share_with_another_service(
    members: list[Facts], facts: Facts
) -> None:
    assert Crowd(members).clashes(facts) == {clash(facts, other) for other in members} - {None}


@given(st.lists(FACTS, min_size=1, max_size=6), st.data())
def test_a_member_of_a_crowd_is_not_in_its_own_way(members: list[Facts], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(members) - 1))
    others = (*members[:which], *members[which + 1 :])
    reasons = {clash(members[which], other) for other in others} - {None}
    assert Crowd(members).clashes(members[which], member=True) == reasons


@st.composite
def on_one_address(draw: st.DrawFn) -> list[Service]:
    """Up to six Services that are published with one address, each on a port of its own, and what they were told."""
    made: list[Service] = []
    for number in range(draw(st.integers(2, 6))):
        key, word = draw(st.sampled_from((None, "k", "k", "k2"))), draw(st.sampled_from(WORDS))
        noted = {"purelb.io/allocated-by": "PureLB", "purelb.io/pool-type": "remote"}
        found = service(
            f"s{number}",
            created=f"2026-01-0{draw(st.integers(1, 3))}T00:00:00Z",
            annotations=noted | ({"purelb.io/allow-shared-ip": key} if key is not None else {}),
            ports=(("TCP", 80 + number),),
            ingress=("192.0.2.10",),
            selector={"app": draw(st.sampled_from("xy"))},
            external_traffic_policy=draw(st.sampled_from(("Cluster", "Cluster", "Local"))),
        )
        if word:
            text = "192.0.2.10 is held by shop/other; keeps 192.0.2.10"
            told = Condition(type="purelb.io/Allocated", status="False", reason=word, message=text)
            assert found.status is not None
            found = replace(found, status=replace(found.status, conditions=(told,)))
        made.append(found)
    return made


def who_has_to_go(holders: dict[ServiceKey, Holder], told: dict[ServiceKey, str]) -> dict[ServiceKey, Contest]:
    """By asking everybody about everybody. `holders` stand in the order of their age."""
    facts = {key: holder.facts for key, holder in holders.items()}
    true = {
        key
        for key, why in told.items()
        if why != "AddressConflict" and any(clash(facts[key], facts[other]) == why for other in facts if other != key)
    }
    conflict = [key for key in facts if told.get(key) == "AddressConflict"]
    untold = [key for key in facts if key not in true and key not in conflict]
    stays: list[ServiceKey] = []
    found: dict[ServiceKey, Contest] = {}
    for key in (*untold, *conflict, *(key for key in facts if key in true)):
        if all(clash(facts[key], facts[other]) is None for other in stays):
            stays.append(key)
            found[key] = ""
        else:
            found[key] = "changed" if key in true else "learnt"
    return found


@given(on_one_address())
def test_who_has_to_go_of_those_on_an_address_is_whoever_would_be_found_by_asking_each_about_each(
    services: list[Service],
) -> None:
    ledger = Ledger()
    learn_all(services, ledger=ledger, groups=Groups(), rules=Rules())
    holders = dict(ledger.claims[ADDRESS].holders)
    by_key = {ServiceKey("shop", each.metadata.name): each for each in services}
    told = {
        key: each.status.conditions[0].reason for key, each in by_key.items() if each.status and each.status.conditions
    }
    blame(ledger, ADDRESS, by_key.get)
    contests = {key: holder.contest for key, holder in ledger.claims[ADDRESS].holders.items()}
    assert contests == who_has_to_go(holders, told)


@pytest.mark.parametrize("who", ["older", "younger"])
def test_where_a_shared_address_came_from_is_learnt_from_whichever_of_its_services_still_says_so(who: str) -> None:
    noted = {"purelb.io/allocated-from": "gone", "purelb.io/pool-type": "remote"}
    services = [
        service(
            name,
            created=f"2026-01-0{day}T00:00:00Z",
            ports=(("TCP", 80 + day),),
            ingress=("192.0.2.10",),
            annotations={"purelb.io/allow-shared-ip": "web", **(noted if name == who else {})},
        )
        for day, name in enumerate(("older", "younger"), start=1)
    ]
    ledger = Ledger()
    learn_all(services, ledger=ledger, groups=Groups(), rules=Rules())
    assert len(ledger.claims[ADDRESS].holders) == 2
    assert (ledger.claims[ADDRESS].origin.group, ledger.claims[ADDRESS].origin.announce) == ("gone", "remote")

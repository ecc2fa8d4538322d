# SPDX-License-Identifier: Apache-2.0
"""From what should be said to one patch, and nothing when it is said already."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from purelb.allocator.observed import published
from purelb.allocator.occasions import of_change
from purelb.allocator.publish import Desired, Said, allocated, difference, nothing_of_ours, patch
from purelb.allocator.refusals import Refusal
from purelb.kube.model import Condition, LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus
from tests.allocator.objects import ip, service

NOW = "2030-01-01T00:00:00Z"
BRAND = (("purelb.io/allocated-by", "PureLB"), ("purelb.io/skip-ipv6-dad", None))
ASSIGNED = Said(True, "AddressAssigned", "192.0.2.7 from default")
WANTED = Desired((ip("192.0.2.7"),), BRAND, ASSIGNED, None)


def with_conditions(of: Service, *conditions: Condition) -> Service:
    assert of.status is not None
    return replace(of, status=replace(of.status, conditions=conditions))


def said(
    type_: str = "purelb.io/Allocated",
    status: str = "True",
    reason: str = "AddressAssigned",
    message: str = "192.0.2.7 from default",
    since: str = "2029-01-01T00:00:00Z",
) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message, last_transition_time=since)


DONE = with_conditions(service(ingress=("192.0.2.7",), annotations={"purelb.io/allocated-by": "PureLB"}), said())


def body(of: Service, desired: Desired) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(patch(of, desired, difference(of, desired), now=NOW))
    return found


def test_the_first_address_is_one_patch_of_ingress_annotations_and_conditions() -> None:
    assert body(service(), WANTED) == {
        "metadata": {"annotations": {"purelb.io/allocated-by": "PureLB"}},
        "status": {
            "loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "VIP"}]},
            "conditions": [
                {
                    "type": "purelb.io/Allocated",
                    "status": "True",
                    "reason": "AddressAssigned",
                    "message": "192.0.2.7 from default",
                    "lastTransitionTime": NOW,
                }
            ],
        },
    }


def test_what_is_said_already_is_not_written_again() -> None:
    assert difference(DONE, WANTED).nothing


def test_a_server_that_drops_ip_mode_causes_no_write() -> None:
    old = ServiceStatus(
        load_balancer=LoadBalancerStatus(ingress=(LoadBalancerIngress(ip="192.0.2.7"),)), conditions=(said(),)
    )
    assert difference(replace(DONE, status=old), WANTED).nothing


@pytest.mark.parametrize(
    ("now_said", "only"),
    [
        pytest.param(said(message="other"), True, id="the message"),
        pytest.param(said(reason="AddressKept"), False, id="the reason"),
        pytest.param(said(status="False"), False, id="the status"),
        pytest.param(said(status="Unknown"), False, id="a status nobody of us writes"),
    ],
)
def test_a_difference_in_a_condition_knows_whether_it_is_only_the_message(now_said: Condition, only: bool) -> None:
    found = difference(with_conditions(DONE, now_said), WANTED)
    assert (found.conditions, found.messages_only) == (True, only)


def test_conditions_of_others_stay_as_they_are_and_in_their_place() -> None:
    theirs = Condition(
        type="example.com/Ready",
        status="Unknown",
        reason="X",
        message="m",
        last_transition_time="t",
        observed_generation=3,
    )
    before = with_conditions(service(), theirs, said(status="False", reason="PoolExhausted"))
    status = body(before, WANTED)["status"]
    assert isinstance(status, dict)
    assert [condition["type"] for condition in status["conditions"]] == ["example.com/Ready", "purelb.io/Allocated"]
    assert status["conditions"][0] == {
        "type": "example.com/Ready",
        "status": "Unknown",
        "reason": "X",
        "message": "m",
        "lastTransitionTime": "t",
        "observedGeneration": 3,
    }


def test_the_time_of_a_condition_changes_with_its_status_only() -> None:
    for before, expected in ((said(reason="AddressKept"), "2029-01-01T00:00:00Z"), (said(status="False"), NOW)):
        status = body(with_conditions(DONE, before), WANTED)["status"]
        assert isinstance(status, dict)
        assert status["conditions"][0]["lastTransitionTime"] == expected


def test_leaving_takes_what_is_ours_and_nothing_else() -> None:
    mixed = replace(
        DONE,
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(
                ingress=(LoadBalancerIngress(ip="192.0.2.7"), LoadBalancerIngress(hostname="lb.example.com"))
            ),
            conditions=(said(), said("example.com/Ready")),
        ),
    )
    made = body(mixed, nothing_of_ours(mixed, frozenset({ip("192.0.2.7")})))
    assert made["metadata"] == {"annotations": {"purelb.io/allocated-by": None}}
    status = made["status"]
    assert isinstance(status, dict)
    assert status["loadBalancer"] == {"ingress": [{"hostname": "lb.example.com"}]}
    assert [condition["type"] for condition in status["conditions"]] == ["example.com/Ready"]


REFUSED = Refusal("PoolExhausted", "default: 1 of 1 IPv4 addresses in use")


def test_what_is_kept_is_told_however_many_groups_refused() -> None:
    refusal = Refusal("GroupDraining", "; ".join(f"group-{n}: GroupDraining (no new addresses)" for n in range(300)))
    told = allocated((ip("192.0.2.7"),), ("default",), refusal, partial=False)
    assert told.message.startswith("group-0: GroupDraining")
    assert told.message.endswith(" ...; keeps 192.0.2.7")
    assert len(told.message) == 1024


def test_what_is_kept_says_of_each_address_whether_it_is_excluded_or_nowhere() -> None:
    told = allocated(
        (ip("192.0.2.7"), ip("192.0.2.8"), ip("2001:db8::7")),
        (None, "default", None),
        None,
        partial=False,
        excluded_by={ip("2001:db8::7"): "six"},
    )
    assert told.message == (
        "192.0.2.7, 192.0.2.8, 2001:db8::7; no ServiceGroup contains 192.0.2.7 any more; 2001:db8::7 is excluded by six"
    )


@pytest.mark.parametrize(
    ("addresses", "groups", "refusal", "partial", "expected"),
    [
        (("192.0.2.7",), ("default",), None, False, (True, "AddressAssigned", "192.0.2.7 from default")),
        (
            ("192.0.2.7",),
            (None,),
            None,
            False,
            (True, "AddressKept", "192.0.2.7; no ServiceGroup contains 192.0.2.7 any more"),
        ),
        ((), (), REFUSED, False, (False, "PoolExhausted", "default: 1 of 1 IPv4 addresses in use")),
        (
            ("192.0.2.7",),
            ("default",),
            REFUSED,
            False,
            (False, "PoolExhausted", "default: 1 of 1 IPv4 addresses in use; keeps 192.0.2.7"),
        ),
        (
            ("192.0.2.7",),
            ("default",),
            REFUSED,
            True,
            (
                True,
                "AddressAssignedPartially",
                "192.0.2.7 from default; missing IPv6: PoolExhausted: default: 1 of 1 IPv4 addresses in use",
            ),
        ),
    ],
)
def test_the_condition_says(
    addresses: tuple[str, ...],
    groups: tuple[str | None, ...],
    refusal: Refusal | None,
    partial: bool,
    expected: tuple[bool, str, str],
) -> None:
    found = allocated(tuple(map(ip, addresses)), groups, refusal, partial=partial, missing="IPv6")
    assert (found.status, found.reason, found.message) == expected


def test_a_message_is_cut_at_1024_characters() -> None:
    found = allocated((), (), Refusal("PoolExhausted", "x" * 5000), partial=False)
    assert len(found.message) == 1024


def told(before: Service, desired: Desired, *, adopted: bool = False) -> list[str]:
    return [occasion.reason for occasion in of_change(before, desired, ours=published(before), adopted=adopted)]


def test_events_are_told_when_something_is_entered_and_not_because_somebody_looked() -> None:
    full = Desired((), (), Said(False, "PoolExhausted", "full"), None)
    assert told(service(), WANTED) == ["AddressAssigned"]
    assert told(service(ingress=("192.0.2.7",)), WANTED, adopted=True) == []
    assert told(service(), full) == ["PoolExhausted"]
    refused = with_conditions(service(), said(status="False", reason="PoolExhausted", message="fuller"))
    assert told(refused, full) == []
    assert told(service(ingress=("192.0.2.8",)), WANTED) == ["AddressAssigned", "AddressReleased"]
    assert told(DONE, nothing_of_ours(DONE, frozenset({ip("192.0.2.7")}))) == ["AddressReleased"]

# SPDX-License-Identifier: Apache-2.0
"""When the link is told: exact instants, and a budget that paces instead of dropping."""

from __future__ import annotations

from ipaddress import ip_address

from purelb.api.nodeagents import Gratuitous
from purelb.lbnodeagent.gratuitous import Announcer, Send

IP = ip_address("192.0.2.10")


def drained(announcer: Announcer, until: float) -> list[tuple[float, Send]]:
    out: list[tuple[float, Send]] = []
    while (due := announcer.deadline()) is not None and due <= until:
        out += [(due, send) for send in announcer.due(due)]
    return out


def announcer() -> Announcer:
    return Announcer(lambda: 0.5)


def test_the_sequence_starts_after_its_delay_and_is_followed_by_one_repetition() -> None:
    speaker = announcer()
    speaker.sequence(IP, 2, settings=Gratuitous(), now=10.0)
    assert [(round(at, 3), send.kind) for at, send in drained(speaker, 100.0)] == [
        (10.1, "sequence"),
        (10.6, "sequence"),
        (11.1, "sequence"),
        (70.0, "repeat"),
    ]


def test_a_burst_is_said_at_once_and_again_after_its_delays() -> None:
    speaker = announcer()
    speaker.burst(IP, 2, delays=(0.0, 1.0, 2.0), now=10.0)
    assert [at for at, _ in drained(speaker, 100.0)] == [10.0, 11.0, 12.0]


def test_nothing_is_said_when_disabled_and_nothing_repeated_when_the_interval_is_zero() -> None:
    speaker = announcer()
    speaker.sequence(IP, 2, settings=Gratuitous(enabled=False), now=10.0)
    assert speaker.deadline() is None
    speaker.repeat(IP, 2, settings=Gratuitous(repeat_interval=0.0), now=10.0)
    assert speaker.deadline() is None


def test_what_was_planned_for_an_address_that_went_is_not_said_and_what_is_planned_later_is() -> None:
    speaker = announcer()
    speaker.burst(IP, 2, delays=(0.0, 1.0), now=10.0)
    speaker.drop(IP)
    speaker.burst(IP, 3, delays=(0.5,), now=10.0)
    assert [(at, send.ifindex) for at, send in drained(speaker, 100.0)] == [(10.5, 3)]


def test_five_thousand_addresses_at_once_are_paced_and_all_said() -> None:
    speaker = announcer()
    addresses = [ip_address(0x0A000000 + number) for number in range(5000)]
    for ip in addresses:
        speaker.burst(ip, 2, delays=(0.0,), now=10.0)
    said = drained(speaker, 1000.0)
    assert {send.ip for _, send in said} == set(addresses)
    assert 4.5 < said[-1][0] - 10.0 < 6.0
    for at, _ in said[::500]:
        within = [other for other, _ in said if at <= other < at + 1.0]
        assert 2 * len(within) <= 2000 * 1.1 + 2


def test_repetitions_have_a_smaller_budget_and_do_not_hold_up_a_burst() -> None:
    speaker = announcer()
    for number in range(200):
        speaker.repeat(ip_address(0x0A000000 + number), 2, settings=Gratuitous(repeat_interval=1.0), now=10.0)
    speaker.burst(IP, 2, delays=(1.0,), now=10.0)
    said = drained(speaker, 1000.0)
    assert [at for at, send in said if send.kind == "burst"] == [11.0]
    assert len(said) == 201
    assert said[-1][0] > 14.0

# SPDX-License-Identifier: Apache-2.0
"""Writes on their way and what is not known about them."""

from __future__ import annotations

from purelb.allocator.flights import MAYBE_MOST, Flight, Flights
from purelb.allocator.publish import Desired
from purelb.kube.writer import Conflicted, Written
from tests.allocator.objects import ip, key

WEB = key("web")


def flight(rv: str = "7", *, ip_: str = "192.0.2.10", sent_at: float = 0.0) -> Flight:
    desired = Desired((ip(ip_),), (), None, None)
    return Flight("status", service=WEB, rv=rv, desired=desired, sent_at=sent_at)


def test_an_answer_is_taken_in_once_and_ends_the_flight() -> None:
    flights = Flights()
    number = flights.depart(Flight("status", service=WEB, rv="1"))
    assert flights.aloft(WEB)
    flights.answer(number, Conflicted(), 3.0)
    landed = flights.land(number)
    assert landed is not None
    assert landed[1] == Conflicted()
    assert not flights.aloft(WEB)
    assert flights.land(number) is None


def test_the_answer_to_a_write_of_a_service_that_is_gone_means_nothing() -> None:
    flights = Flights()
    number = flights.depart(Flight("status", service=WEB, rv="1"))
    flights.forget(WEB)
    flights.answer(number, Written(None, "2"), 3.0)
    assert flights.unlanded == ()
    assert flights.land(number) is None


def test_a_write_of_unknown_outcome_is_known_as_soon_as_another_version_is_seen() -> None:
    flights = Flights()
    flights.unknown(WEB, flight(), now=0.0)
    assert flights.unsure(WEB, "7", now=1.0) is not None
    assert WEB in flights.outstanding
    assert flights.unsure(WEB, "8", now=1.0) is None
    assert WEB not in flights.outstanding


def test_reading_again_is_asked_for_less_and_less_often() -> None:
    flights = Flights()
    flights.unknown(WEB, flight(), now=0.0)
    unsure = flights.unsure(WEB, "7", now=0.25)
    assert unsure is not None
    assert [flights.ask(unsure, 0.0) for _ in range(10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_a_minute_without_news_the_version_is_believed() -> None:
    flights = Flights()
    flights.unknown(WEB, flight(), now=0.0)
    flights.asked(WEB)
    assert flights.unsure(WEB, "7", now=59.0) is not None
    assert flights.unsure(WEB, "7", now=60.0) is None


def test_failures_in_a_row_wait_longer_up_to_a_cap_and_a_success_forgets_them() -> None:
    flights = Flights()
    assert [flights.delay(WEB, first=1.0, cap=5.0) for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    flights.succeeded(WEB)
    assert flights.delay(WEB, first=1.0, cap=5.0) == 1.0


def test_writes_of_unknown_outcome_are_kept_until_another_version_is_seen_and_then_named_once() -> None:
    flights = Flights()
    flights.unknown(WEB, flight(), now=0.0)
    assert flights.known(WEB, "7") == ()
    assert flights.unsure(WEB, "7", now=60.0) is None, "the version is believed, and still the write may have been late"
    assert flights.known(WEB, "8") == (flight(),)
    assert flights.known(WEB, "9") == ()


def test_of_equal_writes_on_one_version_the_oldest_is_kept_and_of_many_different_ones_the_last_few() -> None:
    flights = Flights()
    for number in range(3):
        flights.unknown(WEB, flight(sent_at=float(number)), now=0.0)
    assert flights.known(WEB, "8") == (flight(),)
    for number in range(100):
        flights.unknown(WEB, flight(ip_=f"192.0.2.{number}"), now=0.0)
    assert flights.known(WEB, "8") == tuple(flight(ip_=f"192.0.2.{100 - back}") for back in range(MAYBE_MOST, 0, -1))


def test_what_was_not_known_of_writes_is_forgotten_with_a_success_and_with_the_service() -> None:
    flights = Flights()
    for forget in (flights.succeeded, flights.forget):
        flights.unknown(WEB, flight(), now=0.0)
        forget(WEB)
        assert flights.known(WEB, "8") == ()

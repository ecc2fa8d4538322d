# SPDX-License-Identifier: Apache-2.0
"""The table of the VIP machine: each row as a script, each pair that is not listed a no-op, and who may add at all."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from purelb.lbnodeagent.election import Mine, Nobody, Theirs
from purelb.lbnodeagent.vip import TABLE, WORDS, Word, adopted, step
from purelb.lbnodeagent.vipwords import (
    IN_KERNEL,
    STATES,
    Action,
    Add,
    AddRefused,
    Answer,
    Burst,
    CarrierBack,
    CarrierLost,
    Delete,
    Fenced,
    Foreign,
    Judged,
    KernelLost,
    Note,
    Offer,
    PeerBack,
    Sequence,
    State,
    TakenOver,
    Timer,
    Unoffer,
    Vip,
    VipEvent,
)

IP = IPv4Address("192.0.2.10")
MAC = b"\x02\0\0\0\0\x0b"

OFFERED = Judged(verdict=Mine("offered", "q"), on=2)
FRESH = Judged(verdict=Mine("fresh"), on=2)
CONTESTED = Judged(verdict=Mine("contested", "q"), on=2)
VACANT = Judged(verdict=Mine("contested"), on=2)
GIVE = Judged(verdict=Theirs("q"), give_at=0.0, on=2)
LATER = Judged(verdict=Theirs("q"), give_at=50.0, on=2)
NEVER = Judged(verdict=Theirs("q"), on=2)
NOBODY = Judged(verdict=Nobody("NoCandidate"))
GONE = Judged(verdict=None)

EVENTS: Final[dict[Word, VipEvent]] = {
    "Mine(offered)": OFFERED,
    "Mine(fresh)": FRESH,
    "Mine(contested)": CONTESTED,
    "Mine(vacant)": VACANT,
    "Theirs(now)": GIVE,
    "Theirs(later)": LATER,
    "Nobody": NOBODY,
    "Unclaimed": GONE,
    "Answer": Answer(MAC),
    "TakenOver": TakenOver("q"),
    "KernelLost": KernelLost(),
    "KernelExpired": KernelLost(expired=True),
    "CarrierLost": CarrierLost(),
    "CarrierBack": CarrierBack(),
    "PeerBack": PeerBack(0.0),
    "AddRefused": AddRefused("EINVAL"),
    "Fenced": Fenced(),
    "Foreign": Foreign(),
    "Timer": Timer(),
}


class Script:
    """Feeds events to one VIP; whatever it does must be expected."""

    def __init__(self, vip: Vip) -> None:
        self.vip = vip

    def feed(self, event: VipEvent, *expected: Action, at: float = 10.0, state: State) -> Script:
        self.vip, actions = step(self.vip, event, at)
        assert (actions, self.vip.state) == (expected, state)
        return self


def idle() -> Script:
    return Script(Vip(ip=IP))


def holding() -> Script:
    return idle().feed(FRESH, Add("2"), Sequence(), state="Holding")


def offering() -> Script:
    return holding().feed(GIVE, Offer("q"), Note("offer"), state="Offering")


def closing() -> Script:
    return offering().feed(Answer(MAC), Unoffer(), state="Closing")


def test_a_fresh_win_is_added_and_announced_by_the_sequence_alone() -> None:
    assert holding().vip.on == 2


def test_an_offered_vip_is_added_with_a_burst_and_the_offerer_is_not_heard_for_two_seconds() -> None:
    script = idle().feed(OFFERED, Add("1", "q"), Burst(), Sequence(), state="Holding")
    script.feed(Answer(MAC), at=11.9, state="Holding")
    script.feed(Answer(MAC), Burst((0.0, 1.0, 2.0)), Note("conflict"), at=12.0, state="Holding")


def test_a_contested_vip_is_left_alone_until_its_holder_is_gone() -> None:
    idle().feed(CONTESTED, state="Idle").feed(VACANT, Add("4"), Burst(), Sequence(), state="Holding")


def test_a_win_without_an_interface_adds_nothing() -> None:
    idle().feed(replace(FRESH, on=None), state="Idle").feed(replace(OFFERED, on=None), state="Idle")


def test_a_holder_that_has_to_give_offers_hears_the_heir_waits_for_the_switches_and_goes() -> None:
    script = closing()
    assert script.vip.timer_at == pytest.approx(10.2)
    script.feed(Timer(), Delete("30"), at=10.2, state="Idle")


def test_a_holder_that_may_give_later_keeps_the_vip_and_remembers_when() -> None:
    script = holding().feed(LATER, state="Holding")
    assert script.vip.timer_at == 50.0
    assert holding().feed(NEVER, state="Holding").vip.timer_at is None


def test_the_api_naming_the_heir_closes_an_offer_and_naming_somebody_else_does_not() -> None:
    offering().feed(TakenOver("r"), state="Offering").feed(TakenOver("q"), Unoffer(), state="Closing")


def test_a_frame_of_a_known_node_that_is_not_the_heir_does_not_close_an_offer() -> None:
    offering().feed(Answer(MAC, node="r"), state="Offering").feed(Answer(MAC, node="q"), Unoffer(), state="Closing")


def test_an_offer_is_withdrawn_when_the_verdict_returns_and_moved_when_it_changes() -> None:
    offering().feed(FRESH, Unoffer(), state="Holding")
    script = offering().feed(Judged(verdict=Theirs("r"), give_at=0.0, on=2), Offer("r"), state="Offering")
    assert script.vip.to == "r"
    offering().feed(GIVE, state="Offering")


def test_an_offer_that_nobody_takes_is_reported_once_and_kept() -> None:
    script = offering()
    assert script.vip.timer_at == 12.0
    script.feed(Timer(), Note("handoverStalled"), at=12.0, state="Offering")
    assert script.vip.timer_at is None


def test_of_two_holders_the_one_that_ranks_behind_goes_and_the_other_defends_itself_sparingly() -> None:
    holding().feed(NEVER, state="Holding").feed(Answer(MAC), Delete("15"), Note("yield"), state="Idle")
    script = holding().feed(Answer(MAC), Burst((0.0, 1.0, 2.0)), Note("conflict"), at=20.0, state="Holding")
    script.feed(Answer(MAC), at=29.9, state="Holding")
    script.feed(Answer(MAC), Burst((0.0, 1.0, 2.0)), Note("conflict"), at=30.0, state="Holding")


def test_who_took_it_lately_says_so_to_a_peer_that_is_back_and_who_has_had_it_for_long_does_not() -> None:
    holding().feed(PeerBack(10.0), Burst((0.0, 0.5)), at=20.0, state="Holding")
    holding().feed(PeerBack(10.1), at=400.0, state="Holding")
    Script(adopted(IP, 2, now=10.0)).feed(LATER, state="Holding").feed(PeerBack(10.1), at=400.0, state="Holding")
    offering().feed(PeerBack(0.0), state="Offering")


def test_of_two_that_speak_at_once_one_stays_and_goes_as_well_when_the_other_is_heard_again() -> None:
    crossing = Answer(MAC, stays=True)
    script = holding().feed(NEVER, state="Holding").feed(crossing, at=20.0, state="Holding")
    script.feed(crossing, at=20.7, state="Holding").feed(crossing, Delete("15"), Note("yield"), at=21.0, state="Idle")
    script = holding().feed(NEVER, state="Holding").feed(crossing, at=20.0, state="Holding")
    script.feed(crossing, at=30.0, state="Holding").feed(
        Answer(MAC), Delete("15"), Note("yield"), at=30.1, state="Idle"
    )


def test_what_is_ours_and_was_found_is_heard_about_again_after_somebody_else_answered_for_it() -> None:
    for event in (FRESH, OFFERED, VACANT):
        script = Script(adopted(IP, 2, now=0.0)).feed(Answer(MAC), Note("yield"), state="Adopted")
        script.feed(event, Burst((0.0, 1.0, 2.0)), Note("conflict"), state="Holding")
        script.feed(Answer(MAC), Burst((0.0, 1.0, 2.0)), Note("conflict"), at=20.0, state="Holding")


def test_a_foreign_deletion_is_repaired_and_announced_unless_the_lifetime_had_ended() -> None:
    holding().feed(KernelLost(), Add("19"), Burst(), state="Holding")
    offering().feed(KernelLost(), Add("19"), Burst(), state="Offering")
    holding().feed(KernelLost(expired=True), state="Idle")
    closing().feed(KernelLost(), state="Idle")


def test_without_carrier_the_vip_goes_and_after_a_blink_it_is_announced_again() -> None:
    holding().feed(CarrierLost(), Delete("21"), state="Idle")
    offering().feed(CarrierLost(), Delete("21"), Unoffer(), state="Idle")
    holding().feed(CarrierBack(), Burst((0.0, 1.0)), state="Holding")


def test_what_nobody_claims_any_more_goes_and_so_does_everything_when_fenced() -> None:
    for event in (GONE, NOBODY, Fenced()):
        holding().feed(event, Delete("23"), state="Idle")
        closing().feed(event, Delete("23"), state="Idle")


def test_an_add_that_the_kernel_refuses_is_tried_again_after_a_growing_pause() -> None:
    script = holding().feed(AddRefused("EINVAL"), at=100.0, state="Idle")
    script.feed(FRESH, at=100.9, state="Idle")
    script.feed(FRESH, Add("2"), Sequence(), at=101.0, state="Holding")


def test_what_was_found_at_start_is_kept_without_a_frame() -> None:
    for event in (FRESH, OFFERED, VACANT, LATER, NEVER):
        Script(adopted(IP, 2, now=0.0)).feed(event, state="Holding")


def test_what_was_found_at_start_is_offered_when_another_should_have_it_and_removed_when_nobody_claims_it() -> None:
    Script(adopted(IP, 2, now=0.0)).feed(GIVE, Offer("q"), Note("offer"), state="Offering")
    Script(adopted(IP, 2, now=0.0)).feed(GONE, Delete("36"), Note("orphanRemoved"), state="Idle")
    Script(adopted(IP, 2, now=0.0)).feed(NOBODY, Delete("36"), Note("orphanRemoved"), state="Idle")


def test_a_living_rival_of_what_was_found_at_start_is_told_once() -> None:
    Script(adopted(IP, 2, now=0.0)).feed(CONTESTED, Burst(), state="Holding")


def test_what_was_found_at_start_is_not_renewed_once_somebody_else_answered_for_it() -> None:
    script = Script(adopted(IP, 2, now=0.0)).feed(Answer(MAC), Note("yield"), state="Adopted")
    assert script.vip.ignore_until == float("inf")


def test_what_somebody_else_answered_for_is_given_up_with_the_first_verdict_that_names_a_rival() -> None:
    for event in (CONTESTED, GIVE, LATER):
        script = Script(adopted(IP, 2, now=0.0)).feed(Answer(MAC), Note("yield"), state="Adopted")
        script.feed(event, Delete("15"), state="Idle")
    Script(adopted(IP, 2, now=0.0)).feed(Answer(MAC), Note("yield"), state="Adopted").feed(
        VACANT, Burst((0.0, 1.0, 2.0)), Note("conflict"), state="Holding"
    )


def test_a_foreign_instance_makes_us_forget_without_touching_the_kernel() -> None:
    for script in (idle(), holding(), closing(), Script(adopted(IP, 2, now=0.0))):
        script.feed(Foreign(), state="Idle")
    offering().feed(Foreign(), Unoffer(), state="Idle")


def reached(state: State) -> Vip:
    return {
        "Idle": idle().vip,
        "Holding": holding().vip,
        "Offering": offering().vip,
        "Closing": closing().vip,
        "Adopted": adopted(IP, 2, now=0.0),
    }[state]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("word", WORDS)
def test_a_pair_that_the_table_does_not_list_changes_nothing(state: State, word: Word) -> None:
    vip = reached(state)
    after, actions = step(vip, EVENTS[word], 20.0)
    if (state, word) not in TABLE:
        assert actions == ()
        assert replace(after, winner=vip.winner) == vip


def test_every_word_has_an_event_and_every_event_its_word() -> None:
    assert set(EVENTS) == set(WORDS)


event_lists = st.lists(
    st.tuples(st.sampled_from(sorted(EVENTS)), st.sampled_from([0.0, 0.1, 0.3, 3.0, 40.0])), max_size=40
)


@given(event_lists, st.booleans())
def test_an_address_is_added_only_when_offered_unclaimed_by_the_living_or_lost_by_a_foreign_hand(
    events: list[tuple[Word, float]], found: bool
) -> None:
    vip, now = adopted(IP, 2, now=0.0) if found else Vip(ip=IP), 100.0
    for word, pause in events:
        now += pause
        before = vip
        vip, actions = step(vip, EVENTS[word], now)
        adds = [action for action in actions if isinstance(action, Add)]
        deletes = [action for action in actions if isinstance(action, Delete)]
        assert not (adds and deletes)
        if not before.in_kernel and vip.in_kernel:
            assert word in {"Mine(offered)", "Mine(fresh)", "Mine(vacant)"}
            assert adds
        if before.in_kernel and not vip.in_kernel:
            assert deletes or word in {"KernelLost", "KernelExpired", "AddRefused", "Foreign"}
        if adds and before.in_kernel:
            assert word == "KernelLost"
        if any(isinstance(action, Burst | Sequence) for action in actions):
            assert vip.state in IN_KERNEL


@given(event_lists)
def test_after_the_events_stop_the_machine_comes_to_rest(events: list[tuple[Word, float]]) -> None:
    vip, now = Vip(ip=IP), 0.0
    for word, pause in events:
        now += pause
        vip, _ = step(vip, EVENTS[word], now)
    for _ in range(3):
        if vip.timer_at is not None:
            now = max(now, vip.timer_at)
            vip, _ = step(vip, Timer(), now)
    rested, actions = step(vip, Timer(), now + 1.0)
    assert (rested, actions) == (vip, ())


@given(event_lists, st.booleans(), st.sampled_from(sorted(EVENTS)))
def test_once_its_timer_was_told_a_vip_asks_for_no_instant_that_has_passed(
    events: list[tuple[Word, float]], found: bool, last: Word
) -> None:
    vip, now = adopted(IP, 2, now=0.0) if found else Vip(ip=IP), 100.0
    for word, pause in events:
        now += pause
        vip, _ = step(vip, EVENTS[word], now)
    for event in (Timer(), EVENTS[last]):
        vip, _ = step(vip, event, now)
        assert vip.timer_at is None or vip.timer_at > now


def test_the_pause_after_a_refused_add_ends_also_when_the_vip_is_somebody_elses_by_then() -> None:
    script = offering().feed(AddRefused("ENODEV"), Unoffer(), at=100.0, state="Idle")
    script.feed(GIVE, at=100.5, state="Idle").feed(Timer(), at=101.0, state="Idle")
    assert script.vip.timer_at is None


def test_a_holder_that_is_offered_what_it_holds_is_heard_once_a_second_so_that_the_other_lets_go() -> None:
    script = holding().feed(OFFERED, Burst(), at=20.0, state="Holding").feed(OFFERED, at=20.5, state="Holding")
    script.feed(OFFERED, Burst(), at=21.0, state="Holding")
    script.feed(replace(OFFERED, on=3), Burst(), Sequence(), at=22.0, state="Holding")

# SPDX-License-Identifier: Apache-2.0
"""What this node does about one local VIP: a table, and one function that looks into it.

A living holder gives; nobody takes. The table is data: a pair (state, word) that it does not list changes nothing, and a test
walks every pair. Row numbers are those of the specification. Words come from events in `_word`; effects decide, the owner
carries out. States, events and actions are in `vipwords`.

What looks at the link (probes) will replace: `Mine(contested)` waits here for membership, an offer, the API to name nobody
else any more, or the named peer's own report to deny it (`contests`; rows 3 to 8 come with Looking, Waiting and Trial);
`Mine(vacant)`, a named holder that is gone, adds at once where a full look will stand;
row 34 answers a living rival with one burst instead of a look; row 37 renews unless a frame of another host was heard;
row 17 speaks where a look will stand: who took an address a while ago says so to a peer that is back, whose kernel may
still have it. A holder that hears it goes (row 15) or, being first, defends itself (row 16) until the other goes.
"""

# ruff: noqa: ARG001, ARG005 - effects and guards share one signature, so that rows can be data
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from purelb.lbnodeagent.election import Mine, Nobody, Theirs
from purelb.lbnodeagent.vipwords import (
    STATES,
    Action,
    Add,
    Answer,
    Burst,
    Delete,
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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.net.ranges import IPAddress

SETTLE_S: Final = 0.2
"""Between the new holder's first frame and our deletion: switches and neighbours have learned it by then."""
STALLED_S: Final = 2.0
IGNORE_OFFERER_S: Final = 2.0
DEFENCE_PAUSE_S: Final = 10.0
REMIND_EVERY_S: Final = 1.0
REFUSED_S, REFUSED_MAX_S = 1.0, 60.0
DEFENCE: Final = (0.0, 1.0, 2.0)
RE_EXAMINE: Final = (0.0, 0.5)
"""Its end is well before the second defence of whoever hears it."""
STAND_S: Final = 0.75
STAND_AGAIN_S: Final = 10.0
"""Who stayed at a crossing is told by a frame after the one time and before the other that the other did not go: it is first."""

Word = Literal[
    "Mine(offered)",
    "Mine(fresh)",
    "Mine(contested)",
    "Mine(vacant)",
    "Theirs(now)",
    "Theirs(later)",
    "Nobody",
    "Unclaimed",
    "Answer",
    "TakenOver",
    "KernelLost",
    "KernelExpired",
    "CarrierLost",
    "CarrierBack",
    "PeerBack",
    "AddRefused",
    "Fenced",
    "Foreign",
    "Timer",
]
WORDS: Final[tuple[Word, ...]] = Word.__args__  # type: ignore[attr-defined]

Effect = Callable[[Vip, VipEvent, float], tuple[Vip, tuple[Action, ...]]]


class Row(Struct, frozen=True):
    number: str
    states: tuple[State, ...]
    words: tuple[Word, ...]
    effect: Effect
    guard: Callable[[Vip, VipEvent, float], bool] = lambda vip, event, now: True


def adopted(ip: IPAddress, on: int, *, now: float) -> Vip:
    """Row 33: found at start with our tag. No frames."""
    return Vip(ip=ip, state="Adopted", on=on, since=now)


def step(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """What follows from `event`. A pair that the table does not list changes at most what we remember of the verdict.

    A timer that was due is over, whether or not a row minds: one that stayed in the past would wake the owner for ever.
    """
    word = _word(event, now)
    if isinstance(event, Timer) and _due(vip, event, now):
        after, actions = _look_up(vip, word, event, now)
        return replace(after, timer_at=None) if after.timer_at == vip.timer_at else after, actions
    if isinstance(event, Judged):
        vip = replace(vip, winner=event.verdict.node if isinstance(event.verdict, Theirs) else None)
    return _look_up(vip, word, event, now)


def _look_up(vip: Vip, word: Word, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    for row in TABLE.get((vip.state, word), ()):
        if row.guard(vip, event, now):
            return row.effect(vip, event, now)
    return vip, ()


def _word(event: VipEvent, now: float) -> Word:
    match event:
        case Judged(verdict=Mine(how="contested", holder=None)):
            return "Mine(vacant)"
        case Judged(verdict=Mine(how="offered")):
            return "Mine(offered)"
        case Judged(verdict=Mine(how="fresh")):
            return "Mine(fresh)"
        case Judged(verdict=Mine()):
            return "Mine(contested)"
        case Judged(verdict=Theirs(), give_at=due):
            return "Theirs(now)" if due is not None and due <= now else "Theirs(later)"
        case Judged(verdict=Nobody()):
            return "Nobody"
        case Judged():
            return "Unclaimed"
        case KernelLost(expired=expired):
            return "KernelExpired" if expired else "KernelLost"
        case _:
            return type(event).__name__  # type: ignore[return-value]  # the other classes are named like their words


def _linked(vip: Vip, event: VipEvent, now: float) -> bool:
    """An interface serves it, and the kernel did not refuse it a moment ago."""
    return isinstance(event, Judged) and event.on is not None and (vip.timer_at is None or now >= vip.timer_at)


def _take(row: str, *, burst: bool, ignore_s: float = 0.0) -> Effect:
    def effect(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
        assert isinstance(event, Judged)  # noqa: S101 - guarded by _linked
        holder = event.verdict.holder if isinstance(event.verdict, Mine) else None
        until = now + ignore_s if ignore_s else 0.0
        taken = replace(vip, state="Holding", on=event.on, to=None, timer_at=None, ignore_until=until, since=now)
        return taken, (Add(row, holder), *((Burst(),) if burst else ()), Sequence())

    return effect


def _drop(row: str, *notes: str) -> Effect:
    def effect(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
        gone = Vip(ip=vip.ip, winner=vip.winner, quiet_until=vip.quiet_until)
        left: tuple[Action, ...] = (Unoffer(),) if vip.state == "Offering" else ()
        return gone, (Delete(row), *left, *(Note(code) for code in notes))

    return effect


def _forget(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """Idle without a deletion: it is not there any more, or not ours to delete."""
    return Vip(ip=vip.ip, winner=vip.winner), ((Unoffer(),) if vip.state == "Offering" else ())


def _offer(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    assert vip.winner is not None  # noqa: S101 - the word is Theirs
    return replace(vip, state="Offering", to=vip.winner, timer_at=now + STALLED_S), (Offer(vip.winner), Note("offer"))


def _offer_again(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    assert vip.winner is not None  # noqa: S101 - the word is Theirs
    return replace(vip, to=vip.winner, timer_at=now + STALLED_S), (Offer(vip.winner),)


def _hold(*actions: Action) -> Effect:
    def effect(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
        on = event.on if isinstance(event, Judged) and event.on is not None else vip.on
        due = event.give_at if isinstance(event, Judged) else None
        return replace(vip, state="Holding", to=None, on=on, timer_at=due), actions

    return effect


def _hold_on(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """Ours, and somebody else answered before we knew: hear again, and defend it."""
    held, _ = _hold()(vip, event, now)
    return _defend(replace(held, ignore_until=0.0), event, now)


def _moved(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """The same VIP, the same holder: due times change, and perhaps the interface."""
    assert isinstance(event, Judged)  # noqa: S101 - the word is a verdict
    on = event.on if event.on is not None else vip.on
    due = event.give_at if isinstance(event.verdict, Theirs) else None
    return replace(vip, on=on, timer_at=due), ((Burst(), Sequence()) if on != vip.on else ())


def _remind(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """Somebody offers us what we hold: two hold it, and the other waits for a frame of ours to let go."""
    moved, _ = _moved(vip, event, now)
    return replace(moved, quiet_until=now + REMIND_EVERY_S), (Burst(), *((Sequence(),) if moved.on != vip.on else ()))


def _settle(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    return replace(vip, state="Closing", timer_at=now + SETTLE_S), (Unoffer(),)


def _defend(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    return replace(vip, quiet_until=now + DEFENCE_PAUSE_S), (Burst(DEFENCE), Note("conflict"))


def _stalled(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    return replace(vip, timer_at=None), (Note("handoverStalled"),)


def _refused(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    wait = min(REFUSED_MAX_S, REFUSED_S * 2.0**vip.refusals)
    left: tuple[Action, ...] = (Unoffer(),) if vip.state == "Offering" else ()
    return Vip(ip=vip.ip, winner=vip.winner, timer_at=now + wait, refusals=vip.refusals + 1), left


def _speak(*delays: float) -> Effect:
    return lambda vip, event, now: (vip, (Burst(delays),))


def _yield_quietly(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """Row 37: somebody else answers for what we found at start. It is not renewed any more and runs out."""
    return replace(vip, ignore_until=float("inf")), (Note("yield"),)


def _may_go(vip: Vip, event: VipEvent, now: float) -> bool:
    """Another is first for it, and whoever answered does not go for our sake."""
    stays = isinstance(event, Answer) and event.stays and not STAND_S <= now - vip.stood_at < STAND_AGAIN_S
    return vip.winner is not None and not stays and _not_ignored(vip, event, now)


def _stand(vip: Vip, event: VipEvent, now: float) -> tuple[Vip, tuple[Action, ...]]:
    """The other has heard us as well and goes; were it first, it would speak again."""
    return (replace(vip, stood_at=now) if now - vip.stood_at >= STAND_AGAIN_S else vip), ()


def _recent(vip: Vip, event: VipEvent, now: float) -> bool:
    return isinstance(event, PeerBack) and vip.since >= event.after


def _not_ignored(vip: Vip, event: VipEvent, now: float) -> bool:
    return now >= vip.ignore_until


def _answered_for(vip: Vip, event: VipEvent, now: float) -> bool:
    """Somebody else answered for what we found at start."""
    return vip.ignore_until == float("inf")


def _due(vip: Vip, event: VipEvent, now: float) -> bool:
    return vip.timer_at is not None and now >= vip.timer_at


def _by_heir(vip: Vip, event: VipEvent, now: float) -> bool:
    node = event.node if isinstance(event, (Answer, TakenOver)) else None
    return node is None or node == vip.to


_IN_KERNEL: tuple[State, ...] = ("Holding", "Offering", "Closing", "Adopted")
_MINE: tuple[Word, ...] = ("Mine(offered)", "Mine(fresh)", "Mine(contested)", "Mine(vacant)")

ROWS: Final[tuple[Row, ...]] = (
    Row("1", ("Idle",), ("Mine(offered)",), _take("1", burst=True, ignore_s=IGNORE_OFFERER_S), _linked),
    Row("2", ("Idle",), ("Mine(fresh)",), _take("2", burst=False), _linked),
    Row("4", ("Idle",), ("Mine(vacant)",), _take("4", burst=True), _linked),
    Row("13", ("Holding",), ("Theirs(now)",), _offer),
    Row("14", ("Holding",), ("Theirs(later)",), _moved),
    Row("15", ("Holding",), ("Answer",), _drop("15", "yield"), _may_go),
    Row("15", ("Holding",), ("Answer",), _stand, lambda v, e, now: v.winner is not None and _not_ignored(v, e, now)),
    Row(
        "16",
        ("Holding",),
        ("Answer",),
        _defend,
        lambda v, e, now: v.winner is None and _not_ignored(v, e, now) and now >= v.quiet_until,
    ),
    Row("17", ("Holding",), ("PeerBack",), _speak(*RE_EXAMINE), _recent),
    Row("19", ("Holding", "Offering"), ("KernelLost",), lambda vip, event, now: (vip, (Add("19"), Burst()))),
    Row("20", ("Holding", "Offering"), ("KernelExpired",), _forget),
    Row("21", _IN_KERNEL, ("CarrierLost",), _drop("21")),
    Row("22", ("Holding",), ("CarrierBack",), _speak(0.0, 1.0)),
    Row("23", ("Holding", "Offering", "Closing"), ("Unclaimed", "Nobody", "Fenced"), _drop("23")),
    Row("23", ("Adopted",), ("Fenced",), _drop("23")),
    Row("24", ("Offering",), ("Answer", "TakenOver"), _settle, _by_heir),
    Row("25", ("Offering",), _MINE, _hold(Unoffer())),
    Row("26", ("Offering",), ("Theirs(now)", "Theirs(later)"), _offer_again, lambda v, e, now: v.winner != v.to),
    Row("27", ("Offering",), ("Timer",), _stalled, _due),
    Row("28", ("Closing", "Adopted"), ("KernelLost", "KernelExpired"), _forget),
    Row("30", ("Closing",), ("Timer",), _drop("30"), _due),
    Row("31", ("Holding", "Offering"), ("AddRefused",), _refused),
    Row("24", ("Holding",), ("Mine(offered)",), _remind, lambda v, e, now: now >= v.quiet_until),
    Row("11.3", ("Holding",), _MINE, _moved),
    Row("15", ("Adopted",), ("Mine(contested)", "Theirs(now)", "Theirs(later)"), _drop("15"), _answered_for),
    Row("34", ("Adopted",), ("Mine(offered)", "Mine(fresh)", "Mine(vacant)"), _hold_on, _answered_for),
    Row("34", ("Adopted",), ("Mine(offered)", "Mine(fresh)", "Mine(vacant)"), _hold()),
    Row("34", ("Adopted",), ("Mine(contested)",), _hold(Burst())),
    Row("13", ("Adopted",), ("Theirs(now)",), _offer),
    Row("35", ("Adopted",), ("Theirs(later)",), _hold()),
    Row("36", ("Adopted",), ("Unclaimed", "Nobody"), _drop("36", "orphanRemoved")),
    Row("37", ("Adopted",), ("Answer",), _yield_quietly, _not_ignored),
    Row("38", STATES, ("Foreign",), _forget),
)


def _table() -> Mapping[tuple[State, Word], tuple[Row, ...]]:
    table: dict[tuple[State, Word], tuple[Row, ...]] = {}
    for row in ROWS:
        for state in row.states:
            for word in row.words:
                table[state, word] = (*table.get((state, word), ()), row)
    return table


TABLE: Final = _table()

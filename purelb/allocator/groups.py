# SPDX-License-Identifier: Apache-2.0
"""Which ServiceGroups are accepted, and which of them a Service may use, in turn.

The parser of `api` reads one group; what compares groups is here: a name seen twice, addresses that two groups claim. Groups are
taken by age, so an edit never takes a range away from an older group. `Groups` is one immutable value, made when any group
changed and swapped in one assignment; nothing here is done per Service but `candidates`. It is made in pieces, and a group that is
the same as before is not read again: with thousands of items that takes longer than the loop may be held.

Rule: a group whose source this process does not have (`netbox`, `external`) is refused with that text, never ignored. The others
of that kind stand in `elsewhere`: they have no ranges here, and who holds an address of theirs is known from the ledger.
Rejected: the group's name as order of acceptance, as PureLB (Go) has it; a rename would then move ranges.
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

from msgspec import Struct

from purelb.allocator import refusals as because
from purelb.allocator.atlas import Atlas, EntryId, Place
from purelb.allocator.ranges import Address, Layout
from purelb.allocator.refusals import Refusal
from purelb.api import reasons
from purelb.api.groups import DEFAULT_GROUP, Accepted, Group, Scope, reading_group
from purelb.api.groups import Refusal as GroupRefusal
from purelb.api.kinds import ServiceGroup
from purelb.api.names import is_slip
from purelb.api.pieces import LOOKS, Pieces, at_once
from purelb.kube import selectors
from purelb.net.ranges import Interval, IPNetwork, print_interval

Labels = Mapping[str, str]

# Why a group is refused that counts all the same: it is the one of its name that is meant.
_READ: Final = frozenset({reasons.INVALID_SPEC, reasons.NO_ADDRESSES, reasons.OVERLAP})
_SHORT: Final = 8  # names of a list in which a slip is looked for: a refusal is to stay cheap
_UNSET: Final = 1 << 17  # behind every priority


class Standing(Struct, frozen=True, gc=False):
    """What became of one stored group: a reason of its `Ready` condition."""

    namespace: str
    name: str
    generation: int
    ready: bool
    reason: str
    text: str


class Candidates(Struct, frozen=True, gc=False):
    """The groups to ask, in turn. `warning`: the choice was ambiguous and fell to the open group.

    `untried`: groups that serve the namespace as well, but are no spill-over, because nobody gave them a priority.
    """

    groups: tuple[Group, ...]
    warning: str = ""
    untried: tuple[str, ...] = ()


class Groups:
    """All groups as they stand. Immutable.

    `labels_of` answers the labels a Namespace has at the moment of asking, None when no such Namespace was seen yet.
    """

    def __init__(
        self,
        stored: Iterable[ServiceGroup] = (),
        *,
        install_namespace: str = "",
        scope: Scope = "install",
        labels_of: Callable[[str], Labels | None] = lambda _: {},
        sources: Container[str] = (),
    ) -> None:
        self._labels_of = labels_of
        self._install = install_namespace
        self._scope: Scope = scope
        self._sources = sources
        self._read: dict[tuple[str, str], Accepted | GroupRefusal] = {}
        self.accepted: dict[str, Group] = {}
        self.standings: dict[tuple[str, str], Standing] = {}
        self.stored: dict[tuple[str, str], ServiceGroup] = {}
        self.refused: dict[str, str] = {}
        self.elsewhere: dict[str, Group] = {}
        self.layouts: dict[EntryId, Layout] = {}
        self.atlas = Atlas()
        self.several = False
        self._selects = False
        self.fenced: dict[str, str] = {}
        at_once(self._fill(list(stored), before=None))

    @classmethod
    def reading(
        cls,
        stored: Iterable[ServiceGroup],
        *,
        install_namespace: str,
        scope: Scope,
        labels_of: Callable[[str], Labels | None],
        sources: Container[str],
        before: "Groups | None" = None,
    ) -> "Pieces[Groups]":
        """The groups in pieces. What `before` has read of an object that is the same now is not read again."""
        made = cls(install_namespace=install_namespace, scope=scope, labels_of=labels_of, sources=sources)
        yield from made._fill(list(stored), before=before)
        return made

    def _fill(self, objects: list[ServiceGroup], *, before: "Groups | None") -> Pieces[None]:
        taken = _Taken()
        kept = _first_of_each_name(objects, self._install)
        for obj in sorted(objects, key=_age):
            meta = obj.metadata
            place = meta.namespace, meta.name
            self.stored[place] = obj
            answer = before.known(obj) if before is not None else None
            if answer is None:
                answer = yield from reading_group(obj, install_namespace=self._install, scope=self._scope)
            self._read[place] = answer
            yield
            if not isinstance(answer, GroupRefusal):
                winner = kept[meta.name]
                if winner != meta.namespace:
                    answer = GroupRefusal(
                        "Duplicate", f"namespace {winner} has a ServiceGroup of this name, which is used"
                    )
                elif (missing := _unsupported(answer.group, self._sources)) is not None:
                    answer = GroupRefusal("InvalidSpec", missing)
                elif (shared := (yield from taken.overlap(answer.group))) is not None:
                    answer = GroupRefusal("Overlap", f"shares {print_interval(shared[0])} with {shared[1]}")
            if isinstance(answer, GroupRefusal):
                standing = Standing(meta.namespace, meta.name, meta.generation, False, answer.reason, answer.text)
            else:
                yield from taken.add(answer.group)
                self.accepted[meta.name] = answer.group
                standing = _standing(answer.group, answer.warnings)
            self.standings[place] = standing
        for namespace, name in self.standings:  # of several, the one that counts is that of the install namespace
            if name not in self.accepted and (name not in self.refused or namespace == self._install):
                self.refused[name] = namespace
        self.elsewhere = {name: group for name, group in self.accepted.items() if group.source != "cluster"}
        self.layouts, self.atlas = yield from _lay_out(self.accepted.values())
        self._selects = any(group.namespace_selector is not None for group in self.accepted.values())
        self.several = any(group.multi_pool for group in self.accepted.values())
        self.fenced = dict(self._fences())

    def _fences(self) -> Iterable[tuple[str, str]]:
        """Each namespace that a group keeps to itself, and that group. One that is refused gives nothing, but its fence stands."""
        for name, namespace in self.refused.items():
            standing, spec = self.standings[namespace, name], self.stored[namespace, name].spec
            if standing.reason in _READ and spec is not None and spec.enforce_namespaces:
                yield from ((text.strip(), name) for text in spec.namespaces or () if text.strip())
        for group in self.accepted.values():
            if group.enforce_namespaces:
                yield from ((name, group.name) for name in group.namespaces)

    def known(self, obj: ServiceGroup) -> Accepted | GroupRefusal | None:
        """What was read of an object, if the one that was read says the same."""
        place = obj.metadata.namespace, obj.metadata.name
        mine = self.stored.get(place)
        if mine is None or (mine is not obj and (_identity(mine), mine.spec) != (_identity(obj), obj.spec)):
            return None
        return self._read[place]

    @property
    def reuse_delays(self) -> Mapping[str, float]:
        """The groups that keep a released address back, and for how long."""
        return {name: group.reuse_delay for name, group in self.accepted.items() if group.reuse_delay > 0}

    def holding(self, place: Place | None) -> Group | None:
        """The group that hands out what lies there."""
        return None if place is None or place.excluded else self.accepted.get(place.entry.group)

    def subnet_of(self, entry: EntryId) -> IPNetwork | None:
        """The subnet that a live node has to advertise for an entry to count; None where none has to."""
        group = self.accepted.get(entry.group)
        mine = [each for each in group.entries if each.family == entry.family] if group is not None else []
        if group is None or group.announce != "local" or entry.index >= len(mine):
            return None
        return mine[entry.index].subnet

    def named(self, name: str, namespace: str) -> Group | Refusal:
        """The accepted group of a name, for a Service of a namespace."""
        group = self.accepted.get(name)
        if group is None:
            if name not in self.refused:
                return because.unknown_group(name, self._install)
            standing = self.standings[self.refused[name], name]
            return because.group_not_ready(name, standing.reason, standing.text)
        return self.denial(group, namespace) or group

    def name_at(self, address: Address) -> str | None:
        """The name of the group that hands out an address."""
        group = self.holding(self.atlas.where(address))
        return None if group is None else group.name

    def serves(self, group: Group, namespace: str) -> bool:
        """Whether the group names the namespace, or selects it."""
        if namespace in group.namespaces:
            return True
        selector = group.namespace_selector
        labels = self._labels_of(namespace) if selector is not None else None
        return selector is not None and labels is not None and selectors.matches(selector, labels)

    def denial(self, group: Group, namespace: str) -> Refusal | None:
        """Why Services of a namespace may not use the group; None when they may."""
        if not (group.enforce_namespaces or namespace in self.fenced) or self.serves(group, namespace):
            return None
        if group.namespace_selector is not None and self._labels_of(namespace) is None:
            return because.labels_unseen(group.name, namespace)
        if group.enforce_namespaces:
            return because.does_not_serve(group.name, namespace)
        allowed = [other.name for other in self.accepted.values() if self.serves(other, namespace)]
        return because.may_use_only(namespace, sorted(allowed) or [self.fenced[namespace]])

    def candidates(
        self, *, namespace: str, named: str | None, labels: Labels, bound: frozenset[str]
    ) -> Candidates | Refusal:
        """The groups a Service may get its addresses from, in the order in which they are asked."""
        if named is not None:
            group = self.named(named, namespace)
            return group if isinstance(group, Refusal) else Candidates((group,))
        if (
            self._selects and self._labels_of(namespace) is None
        ):  # it is not without labels: nobody has told us of it yet
            return because.namespace_unseen(namespace)
        allowed = [
            group
            for group in self.accepted.values()
            if group.auto_assign
            and not group.deleted
            and (group.service_selector is None or selectors.matches(group.service_selector, labels))
            and self.denial(group, namespace) is None
        ]
        serving = [group for group in allowed if self.serves(group, namespace)]
        chosen = serving or [g for g in allowed if not g.namespaces and g.namespace_selector is None]
        if not chosen:
            return because.no_matching_group(namespace, self._why_none(namespace, labels))
        ranked = sorted(chosen, key=lambda group: (_rank(group, bound), group.name))
        if serving and len(ranked) > 1 and _rank(ranked[0], bound) == _rank(ranked[1], bound):
            tied = sorted(group.name for group in ranked if _rank(group, bound) == _rank(ranked[0], bound))
            marked = ranked[0].namespace_default
            refusal = because.ambiguous_group(tied, namespace, marked=marked)
            fallback = self.accepted.get(DEFAULT_GROUP)
            if fallback is None or fallback not in allowed:  # as no open one is where the namespace is fenced
                return refusal
            if fallback.namespaces or fallback.namespace_selector is not None:
                return refusal
            return Candidates(
                (fallback,), because.ambiguous_group(tied, namespace, marked=marked, used=fallback.name).text
            )
        first, *rest = ranked
        untried = tuple(group.name for group in rest if serving and group.priority is None and not group.drain)
        return Candidates(
            (first, *(group for group in rest if group.priority is not None or not serving)), untried=untried
        )

    def _why_none(self, namespace: str, labels: Labels) -> list[str]:
        """What keeps each group from being chosen that is not plainly somebody else's; the group named default first."""
        reason = {name: self.standings[namespace, name].reason for name, namespace in self.refused.items()}
        found = {name: f"{name} is refused ({why})" for name, why in reason.items()}
        slips = self._slips(namespace)
        for name, group in self.accepted.items():
            serves = self.serves(group, namespace)
            if not serves and (group.namespaces or group.namespace_selector is not None):
                if name in slips:
                    found[name] = f"{name} serves {slips[name]}, not {namespace}"
                elif name == DEFAULT_GROUP:
                    found[name] = f"{name} serves other namespaces"
            elif group.deleted:
                found[name] = f"{name} is being deleted"
            elif not group.auto_assign:
                found[name] = f"{name} has to be named (autoAssign)"
            elif group.service_selector is not None and not selectors.matches(group.service_selector, labels):
                found[name] = f"the serviceSelector of {name} does not match"
            else:
                found[name] = f"{name} does not serve a namespace that is fenced"
        return [found[name] for name in sorted(found, key=lambda name: (name != DEFAULT_GROUP, name))]

    def _slips(self, namespace: str) -> Mapping[str, str]:
        """The group in whose short list a name stands that is one slip of the finger away: perhaps this one was meant.

        Where there are several such names they are a series (`team1`, `team2`), and no slip. Whether there is a namespace of that name
        is not asked: nobody wakes a Service because another namespace came or went, and so its message may not depend on it.
        """
        short = (group for group in self.accepted.values() if len(group.namespaces) <= _SHORT)
        near = [
            (g.name, name) for g in short for name in g.namespaces if name != namespace and is_slip(name, namespace)
        ]
        return dict(near) if len({name for _, name in near}) == 1 else {}


class _Taken:
    """Intervals of the groups accepted so far, disjoint and sorted."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, str]] = []  # family, low, high, group

    def overlap(self, group: Group) -> Pieces[tuple[Interval, str] | None]:
        for entry in group.entries:
            yield
            for number, interval in enumerate(entry.intervals):
                if not (number + 1) % LOOKS:
                    yield
                at = bisect_right(self._rows, (interval.family, interval.high, 1 << 129, ""))
                if at and self._rows[at - 1][0] == interval.family and self._rows[at - 1][2] >= interval.low:
                    _, low, high, name = self._rows[at - 1]
                    return Interval(interval.family, max(low, interval.low), min(high, interval.high)), name
        return None

    def add(self, group: Group) -> Pieces[None]:
        for entry in group.entries:
            for at in range(0, len(entry.intervals), LOOKS):
                self._rows += ((i.family, i.low, i.high, group.name) for i in entry.intervals[at : at + LOOKS])
                yield
        self._rows.sort()
        yield


def _age(stored: ServiceGroup) -> tuple[str, str, str]:
    meta = stored.metadata
    return meta.creation_timestamp or "", meta.namespace, meta.name


def _identity(stored: ServiceGroup) -> tuple[str, int, str, bool]:
    """What of the metadata is read; namespace and name are where it is looked up."""
    meta = stored.metadata
    return meta.uid, meta.generation, meta.creation_timestamp or "", bool(meta.deletion_timestamp)


def _first_of_each_name(objects: Iterable[ServiceGroup], install_namespace: str) -> dict[str, str]:
    """Name -> the namespace whose group of that name is used."""
    kept: dict[str, str] = {}
    for obj in objects:
        namespace, name = obj.metadata.namespace, obj.metadata.name
        best = kept.get(name)
        if best is None or (namespace != install_namespace, namespace) < (best != install_namespace, best):
            kept[name] = namespace
    return kept


def _standing(group: Group, warnings: tuple[str, ...]) -> Standing:
    if group.drain:
        reason = reasons.DRAINING
        text = reasons.GROUP_REASONS[reason].templates[int(group.deleted)]
    elif warnings:
        reason, text = "AcceptedWithWarnings", "; ".join(warnings)
    else:
        reason, text = "Accepted", "accepted"
    return Standing(group.namespace, group.name, group.generation, True, reason, text)


def _unsupported(group: Group, sources: Container[str]) -> str | None:
    """What the group asks for that this process cannot do."""
    if group.source != "cluster" and group.source not in sources:
        return f"spec.{group.source} is not supported by this version: use spec.local or spec.remote"
    return None


def _rank(group: Group, bound: frozenset[str]) -> tuple[bool, bool, bool, int, bool]:
    return (
        group.name not in bound,
        group.service_selector is None,
        not group.namespace_default,
        _UNSET if group.priority is None else group.priority,
        group.name != DEFAULT_GROUP,
    )


def _lay_out(groups: Iterable[Group]) -> Pieces[tuple[dict[EntryId, Layout], Atlas]]:
    layouts: dict[EntryId, Layout] = {}
    rows: list[tuple[Place, Interval]] = []
    for group in groups:
        count = {4: 0, 6: 0}
        for entry in group.entries:
            found = EntryId(group.name, entry.family, count[entry.family])
            count[entry.family] += 1
            layouts[found] = yield from Layout.making((i.low, i.high) for i in entry.intervals)
            for place, intervals in ((Place(found), entry.intervals), (Place(found, excluded=True), entry.excluded)):
                for at in range(0, len(intervals), LOOKS):
                    yield
                    rows += ((place, i) for i in intervals[at : at + LOOKS])
    return layouts, (yield from Atlas.making(rows))

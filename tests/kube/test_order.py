# SPDX-License-Identifier: Apache-2.0
"""The order of writes against a slow and obvious model."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from purelb.kube.order import Target, Ticket, Write, WriteOrder
from purelb.kube.resources import SERVICES

TARGETS = st.sampled_from(["a", "b", "c"])


class OrderMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.held_until = 0.0
        self.order = WriteOrder()
        self.lines: dict[str, list[tuple[int, Write]]] = {"a": [], "b": [], "c": []}  # what waits, in order
        self.not_before = dict.fromkeys("abc", 0.0)
        self.sent: dict[str, Ticket] = {}
        self.tickets = 0
        self.results = 0
        self.sent_once: set[int] = set()

    @rule(name=TARGETS, slot=st.sampled_from(["", "status", "labels"]), priority=st.sampled_from([-1, 0, 7]))
    def submit(self, name: str, slot: str, priority: int) -> None:
        write = Write(
            target=Target(SERVICES, "ns", name), verb="patch", slot=slot, priority=priority, reply=lambda _: None
        )
        number, old = self.order.submit(write)
        self.tickets += 1
        line = self.lines[name]
        same = [entry for entry in line if slot and entry[1].slot == slot and entry[0] not in self.sent_once]
        assert (old.number if old else None) == (same[0][0] if same else None)
        if same:
            line.remove(same[0])
            self.results += 1
        line.append((number, write))

    @rule()
    def take(self) -> None:
        ready = {
            name
            for name, line in self.lines.items()
            if line and name not in self.sent and self.not_before[name] <= self.now
        }
        ticket = self.order.take(self.now)
        if self.now < self.held_until or not ready:
            assert ticket is None
            return
        assert ticket is not None
        name = ticket.write.target.name
        assert name in ready
        assert ticket.number == self.lines[name].pop(0)[0]  # the first of its target
        urgency = {other: max(write.priority for _, write in self.lines[other]) for other in ready - {name}}
        own = max([ticket.write.priority, *(write.priority for _, write in self.lines[name])])
        assert all(own >= other for other in urgency.values())  # nothing more urgent is passed over
        self.sent[name] = ticket
        self.sent_once.add(ticket.number)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.sent)))
        self.order.answered(self.sent.pop(name))
        self.results += 1

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), delay=st.sampled_from([0.5, 2.0]))
    def again(self, data: st.DataObject, delay: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.sent)))
        ticket = self.sent.pop(name)
        self.order.again(ticket, self.now + delay)
        self.lines[name].insert(0, (ticket.number, ticket.write))
        self.not_before[name] = self.now + delay

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 1.5]))
    def hold(self, seconds: float) -> None:
        self.order.hold(self.now + seconds)
        self.held_until = max(self.held_until, self.now + seconds)

    @rule()
    def withdraw(self) -> None:
        withdrawn = {ticket.number for ticket in self.order.withdraw()}
        assert withdrawn == {number for line in self.lines.values() for number, _ in line}
        self.results += len(withdrawn)
        for name in self.lines:
            self.lines[name] = []
            self.not_before[name] = 0.0

    @invariant()
    def each_ticket_waits_is_on_its_way_or_has_its_one_result(self) -> None:
        waiting = sum(len(line) for line in self.lines.values())
        assert self.order.waiting == waiting
        assert self.tickets == waiting + len(self.sent) + self.results
        assert self.order.idle == (not waiting and not self.sent)

    @invariant()
    def somebody_is_woken_while_anything_could_be_sent(self) -> None:
        free = [self.not_before[name] for name, line in self.lines.items() if line and name not in self.sent]
        if free:
            due = self.order.deadline()
            assert due is not None
            assert due <= max(self.now, self.held_until, min(free))


TestTheOrderOfWrites = OrderMachine.TestCase

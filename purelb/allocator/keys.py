# SPDX-License-Identifier: Apache-2.0
"""What the owner can be woken for: one frozen type per kind of key, so that a key of another kind never gets through the checker."""

from msgspec import Struct

from purelb.allocator.ranges import Address


class ServiceKey(Struct, frozen=True, gc=False, order=True):
    """A Service changed, waited, or has to be looked at again."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class GroupsChanged(Struct, frozen=True, gc=False):
    """Some ServiceGroup changed: all are read again."""


class NamespaceChanged(Struct, frozen=True, gc=False):
    """The labels of a Namespace changed."""

    name: str


class NodeChanged(Struct, frozen=True, gc=False):
    """The Node, its lease or its report changed."""

    name: str


class Reported(Struct, frozen=True, gc=False):
    """What the nodes say about an address changed."""

    ip: Address


class LivesChanged(Struct, frozen=True, gc=False):
    """Other nodes are alive than before, or they advertise other subnets."""


class Wrote(Struct, frozen=True, gc=False):
    """A write was answered; the answer waits under its ticket."""

    ticket: int


class ReadAgain(Struct, frozen=True, gc=False):
    """The Service was read again because a write of it got no answer; what was read is in the store."""

    service: ServiceKey


class Answered(Struct, frozen=True, gc=False):
    """A source answered, or was answered for; what it said waits under its ticket."""

    ticket: int


class Deadline(Struct, frozen=True, gc=False):
    """The next deadline of the core has come. Exactly one such timer exists."""


class StatusDue(Struct, frozen=True, gc=False):
    """The status of a ServiceGroup may be written again."""

    namespace: str
    group: str


class AgentsDue(Struct, frozen=True, gc=False):
    """Something changed that the status of LBNodeAgents is folded from."""


OtherKey = (
    GroupsChanged
    | NamespaceChanged
    | NodeChanged
    | Reported
    | LivesChanged
    | Wrote
    | ReadAgain
    | Answered
    | Deadline
    | StatusDue
    | AgentsDue
)
Key = ServiceKey | OtherKey

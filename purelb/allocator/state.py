# SPDX-License-Identifier: Apache-2.0
"""Everything one term owns, what it can see, and what it can do. Made when a term begins and dropped when it ends: no ledger
survives leadership, so a former leader has nothing to act on.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import Struct, field

from purelb.allocator.announcements import Announcements
from purelb.allocator.flights import Flight, Flights
from purelb.allocator.groups import Groups
from purelb.allocator.keys import Key, ServiceKey
from purelb.allocator.learning import Conflict
from purelb.allocator.ledger import Ledger
from purelb.allocator.liveness import Liveness
from purelb.allocator.observed import Ownership
from purelb.allocator.occasions import Lasting, Occasion, Once
from purelb.allocator.overrides import Overrides
from purelb.allocator.ranges import Address
from purelb.allocator.restores import Restores
from purelb.allocator.serving import Rules
from purelb.allocator.sources.loans import Loans
from purelb.allocator.sources.source import Call
from purelb.allocator.taken import Taken
from purelb.allocator.tally import Tally
from purelb.allocator.waiting import Waiting
from purelb.api.groups import Scope
from purelb.api.kinds import LBNodeAgent, LBNodeStatus, ServiceGroup
from purelb.kube.metrics import Sink
from purelb.kube.model import Lease, Namespace, Node, ObjectReference, Service
from purelb.kube.resources import Resource
from purelb.kube.store import Store
from purelb.net.ranges import IPNetwork
from purelb.process.pacing import Pace

PRIORITY_ALLOCATE: Final = 0
PRIORITY_FOLD: Final = -100


class Config(Struct, frozen=True):
    """The settings that decide something in a term."""

    ownership: Ownership
    rules: Rules
    install_namespace: str
    scope: Scope = "install"
    sources: frozenset[str] = frozenset()


class Stores(Struct, frozen=True):
    """The newest known objects."""

    services: Store[Service]
    groups: Store[ServiceGroup]
    agents: Store[LBNodeAgent]
    namespaces: Store[Namespace]
    nodes: Store[Node]
    reports: Store[LBNodeStatus]
    leases: Store[Lease]

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """The labels a Namespace has now; None when it was not seen yet."""
        found = self.namespaces.get(namespace)
        return (found.metadata.labels or {}) if found is not None else None


class Hands(Protocol):
    """What a step can set in motion. Nothing here waits."""

    sink: Sink

    def soon(self, key: Key, *, priority: int = 0) -> None:
        """Ask for a turn."""
        ...

    def later(self, key: Key, delay: float, *, priority: int = 0) -> None:
        """Ask for a turn after some seconds."""
        ...

    def afterwards(self, key: Key) -> None:
        """Ask for a turn when what waits to be written by now is, about: nobody without an address waits for it."""
        ...

    def write(
        self,
        number: int,
        resource: Resource,  # type: ignore[type-arg]
        *,
        namespace: str,
        name: str,
        body: bytes,
        rv: str | None,
        subresource: str | None,
        slot: str,
        priority: int,
        patient: bool = False,
    ) -> None:
        """Submit a merge patch; its answer comes as `Wrote(number)`.

        `patient`: that it was applied may also come as a turn of its Service, when what waits to be written by then is.
        """
        ...

    def read(self, service: ServiceKey) -> None:
        """Read the Service from the server; its answer comes as `ReadAgain` and, when it is news, through the store."""
        ...

    def call(self, call: Call) -> None:
        """Ask a source; its answer comes as `Answered`."""
        ...

    def tell(self, regarding: ObjectReference, told: Occasion, *, ago: float = 0.0) -> None:
        """Write an Event, some time, about what happened `ago` seconds before now."""
        ...

    def wall(self) -> str:
        """RFC 3339 time, for people."""
        ...

    def pace(self) -> Pace:
        """How a step that takes long gives the loop its turns."""
        ...

    def answered_at(self) -> float:
        """When the API server last proved to be there."""
        ...

    def ask_whether_it_answers(self) -> None:
        """Let the API server prove again that it is there: soon `answered_at` is later than now, if it is."""
        ...


class Last(Struct, frozen=True, gc=False):
    """What we last made true of a Service: a fingerprint of ingress and annotations, and when. `stripped`: the version of an
    answer that lacked part of what was written, and a fingerprint of what was wanted.
    """

    fingerprint: int
    at: float
    stripped: tuple[str, int] | None = None


class Untold(Struct, frozen=True, gc=False):
    """A write that was applied at `at` and is still to be told of. `gone`: what its Service holds no longer."""

    flight: Flight
    regarding: ObjectReference
    gone: tuple[Address, ...]
    at: float


class Postponed(NamedTuple):
    """What is to be told at `due`, because the same was told of another node a moment ago."""

    told: Occasion
    due: float


class Statusless(Struct, frozen=True, gc=False):
    """An object whose status could not be found, and until when it is left alone."""

    uid: str
    until: float


class State(Struct):
    """What one term owns. Only the owner's steps change it.

    `several`: who has one address per entry of which group, or would if its namespace might use it. `refused_as`: a fingerprint of what was asked when a refusal was last written.
    `agreed`: the wish recorded with what a Service holds. `keep_local`: whose policy stays Local because of the annotation. `advertised`: the subnets of the living nodes.
    """

    config: Config
    stores: Stores
    groups: Groups = field(default_factory=Groups)
    ledger: Ledger = field(default_factory=Ledger)
    waiting: Waiting = field(default_factory=Waiting)
    flights: Flights = field(default_factory=Flights)
    loans: Loans = field(default_factory=Loans)
    announcements: Announcements = field(default_factory=Announcements)
    liveness: Liveness = field(default_factory=Liveness)
    overrides: Overrides = field(default_factory=Overrides)
    restores: Restores = field(default_factory=Restores)
    taken: Taken = field(default_factory=Taken)
    tally: Tally = field(default_factory=Tally)
    once: Once = field(default_factory=Once)
    lasting: Lasting = field(default_factory=Lasting)
    several: dict[ServiceKey, str] = field(default_factory=dict)
    advertised: frozenset[IPNetwork] = frozenset()
    conflicts: dict[ServiceKey, Conflict] = field(default_factory=dict)
    last: dict[ServiceKey, Last] = field(default_factory=dict)
    untold: dict[ServiceKey, list[Untold]] = field(default_factory=dict)
    postponed: dict[ServiceKey, Postponed] = field(default_factory=dict)
    refused_as: dict[ServiceKey, int] = field(default_factory=dict)
    agreed: dict[ServiceKey, str] = field(default_factory=dict)
    keep_local: set[ServiceKey] = field(default_factory=set)
    nodes_seen: dict[str, tuple[Node | None, LBNodeStatus | None]] = field(default_factory=dict)
    group_written_at: dict[tuple[str, str], float] = field(default_factory=dict)
    agents_due_at: float | None = None
    agents_folded_at: float = float("-inf")
    statusless: dict[tuple[str, str, str], Statusless] = field(default_factory=dict)
    rebuild_took: float = 0.0
    audit_at: float = 0.0
    audited: str = ""

    def service(self, key: ServiceKey) -> Service | None:
        """The newest known object."""
        return self.stores.services.get(str(key))

# SPDX-License-Identifier: Apache-2.0
"""From what informers saw to keys of the owner. What cannot change a decision asks for no turn.

Statuses of groups are mostly our own writing, and leases are renewed all day: an update that changes neither spec nor labels, or
only the time of a renewal, is told as little as possible.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from purelb.allocator.keys import AgentsDue, GroupsChanged, Key, NamespaceChanged, NodeChanged, ServiceKey, StatusDue
from purelb.api import annotations as words
from purelb.api import leases
from purelb.api.kinds import LBNodeAgent, LBNodeStatus, ServiceGroup
from purelb.kube.informer import Informer, Registration
from purelb.kube.model import KubeObject, Lease, Namespace, Node, Service, annotations
from purelb.kube.queue import INITIAL, LIVE, URGENT

T = TypeVar("T", bound=KubeObject)


class Informers(Protocol):
    """The informers a term listens to."""

    @property
    def services(self) -> Informer[Service]: ...
    @property
    def groups(self) -> Informer[ServiceGroup]: ...
    @property
    def agents(self) -> Informer[LBNodeAgent]: ...
    @property
    def namespaces(self) -> Informer[Namespace]: ...
    @property
    def nodes(self) -> Informer[Node]: ...
    @property
    def reports(self) -> Informer[LBNodeStatus]: ...
    @property
    def leases(self) -> Informer[Lease]: ...


class Queue(Protocol):
    def soon(self, key: Key, *, priority: int = LIVE) -> None: ...
    def afterwards(self, key: Key) -> None: ...


class _Ask:
    """Asks for the key of an object. `worth`: whether an update can change anything."""

    def __init__(
        self,
        queue: Queue,
        key_of: Callable[[Any], Key | None],
        *,
        priority: int = LIVE,
        worth: Callable[[Any, Any], bool] = lambda _, __: True,
    ) -> None:
        self._queue = queue
        self._key_of = key_of
        self._priority = priority
        self._worth = worth

    def added(self, obj: Any, *, initial: bool) -> None:
        if not initial:  # the rebuild looks at all there is, in its own order
            self._ask(obj)

    def updated(self, old: Any, new: Any) -> None:
        if self._worth(old, new):
            self._ask(new)

    def deleted(self, obj: Any, *, final: bool) -> None:  # noqa: ARG002  gone is gone
        self._ask(obj)

    def _ask(self, obj: Any) -> None:
        key = self._key_of(obj)
        if key is not None:
            self._queue.soon(key, priority=self._priority)


class _Groups(_Ask):
    """A group whose status alone changed was written by us, or by somebody whose text is to be put back."""

    def updated(self, old: Any, new: Any) -> None:
        was, now = old.metadata, new.metadata
        gone = was.uid != now.uid or was.deletion_timestamp != now.deletion_timestamp
        if gone or old.spec != new.spec or was.generation != now.generation:
            self._ask(new)
        elif old.status != new.status:
            self._queue.soon(StatusDue(new.metadata.namespace, new.metadata.name), priority=INITIAL)


class _Services(_Ask):
    """A Service of which only what we write changed was written by us, or is to be put back: those who wait come first."""

    def updated(self, old: Service, new: Service) -> None:
        if _ours_alone(old, new):
            self._queue.afterwards(_service(new))
        else:
            self._queue.soon(_service(new))


def watch(world: Informers, queue: Queue) -> list[Registration[Any]]:
    """Begin to listen; to be called before the rebuild reads the stores."""
    return [
        world.services.add_handler(_Services(queue, _service)),
        world.groups.add_handler(_Groups(queue, lambda _: GroupsChanged(), priority=URGENT)),
        world.namespaces.add_handler(_Ask(queue, lambda obj: NamespaceChanged(obj.metadata.name), worth=_other_labels)),
        world.agents.add_handler(_Ask(queue, lambda _: AgentsDue(), priority=INITIAL)),
        world.nodes.add_handler(_Ask(queue, lambda obj: NodeChanged(obj.metadata.name), worth=_other_addresses)),
        world.nodes.add_handler(_Ask(queue, lambda _: AgentsDue(), priority=INITIAL, worth=_other_node_labels)),
        world.reports.add_handler(_Ask(queue, lambda obj: NodeChanged(obj.metadata.name))),
        world.leases.add_handler(_Ask(queue, _lease)),
    ]


def _service(obj: Service) -> Key:
    return ServiceKey(obj.metadata.namespace, obj.metadata.name)


def _ours_alone(old: Service, new: Service) -> bool:
    """Whether nothing differs that a decision starts from."""
    return (
        old.spec == new.spec
        and old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        and old.metadata.labels == new.metadata.labels
        and _theirs(old) == _theirs(new)
    )


def _theirs(service: Service) -> dict[str, str]:
    return {name: value for name, value in annotations(service).items() if name not in words.OURS}


def _lease(obj: Lease) -> Key | None:
    node = leases.node_of_lease(obj.metadata.name)
    return None if node is None else NodeChanged(node)


def _other_labels(old: Namespace, new: Namespace) -> bool:
    return old.metadata.labels != new.metadata.labels


def _other_node_labels(old: Node, new: Node) -> bool:
    return old.metadata.labels != new.metadata.labels


def _other_addresses(old: Node, new: Node) -> bool:
    before = old.status.addresses if old.status is not None else ()
    after = new.status.addresses if new.status is not None else ()
    return before != after

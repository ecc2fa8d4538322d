# SPDX-License-Identifier: Apache-2.0
"""Two thousand Services and their owners, who create, edit, delete and create again; and somebody who reads every revision.

The owners' acts are drawn from one seed. The judge shares no code with what it judges: it reads the API server's own watch as
JSON and knows two rules. No revision puts an address into a second status, unless both Services carry, or carried since they
hold it, the same sharing key and no port in common: who edits a Service that shares breaks the rule himself, until he is
answered. And the addresses of a Service change only if its owner has changed it since they were first seen.
"""

from __future__ import annotations

import random
import threading  # noqa: TID251  a test may: the judge reads while the owners act
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hack.api import Api

Object = dict[str, Any]

GROUP: Final = "purelb.io/service-group"
ADDRESSES: Final = "purelb.io/addresses"
SHARED: Final = "purelb.io/allow-shared-ip"
OWNERS_WORDS: Final = (GROUP, ADDRESSES, SHARED)
GROUPS: Final = {"default": "10.77.0.0-10.77.15.255", "second": "10.78.0.0-10.78.15.255"}
REQUESTED: Final = "10.77.15.{}"
SHARERS: Final = 3


class Owners:
    """What people do, one act at a time. `alive`: the Services that should be there, and whether they may be refused."""

    def __init__(self, api: Api, namespace: str, *, services: int, seed: int) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/services"
        self._names = [f"s{number:04}" for number in range(services)]
        self._random = random.Random(seed)
        self._gone: list[str] = []
        self.alive: dict[str, bool] = {}
        self.acts: defaultdict[str, int] = defaultdict(int)

    def live(self) -> Iterator[None]:
        """Each Service is created; meanwhile some are edited, deleted, and some of these created again."""
        for name in self._names:
            self._create(name)
            yield
            draw = self._random.random()
            if draw < 0.45:
                self._edit(self._random.choice(list(self.alive)))
                yield
            elif draw < 0.65:
                self._delete(self._random.choice(list(self.alive)))
                yield
            elif draw < 0.75 and self._gone:
                self._create(self._gone.pop(self._random.randrange(len(self._gone))))
                yield

    def _create(self, name: str) -> None:
        chance, annotations, port = self._random.random(), {}, 80
        if chance < 0.06:
            annotations[ADDRESSES] = REQUESTED.format(self._random.randrange(1, 250))
        elif chance < 0.15:
            number = int(name[1:])
            annotations[SHARED] = f"key-{number // SHARERS}"
            port = 8000 + number % SHARERS
        elif chance < 0.3:
            annotations[GROUP] = self._random.choice(list(GROUPS))
        spec = {
            "type": "LoadBalancer",
            "loadBalancerClass": "purelb.io/purelb",
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"name": "a", "port": port}],
        }
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "annotations": annotations},
            "spec": spec,
        }
        self._api.post(self._path, body).ok()
        self.alive[name] = ADDRESSES in annotations
        self.acts["created"] += 1

    def _edit(self, name: str) -> None:
        match self._random.choice(("move", "move", "ask", "forget", "ports", "label")):
            case "move":
                change: Object = {"metadata": {"annotations": {GROUP: self._random.choice(list(GROUPS))}}}
            case "ask":
                wanted = REQUESTED.format(self._random.randrange(1, 250))
                change = {"metadata": {"annotations": {ADDRESSES: wanted, GROUP: None, SHARED: None}}}
                self.alive[name] = True
            case "forget":
                change = {"metadata": {"annotations": dict.fromkeys(OWNERS_WORDS)}}
                self.alive[name] = False
            case "ports":
                change = {"spec": {"ports": [{"name": "a", "port": self._random.randrange(9000, 9900)}]}}
            case _:
                change = {"metadata": {"labels": {"edited": str(self._random.randrange(10**6))}}}
        self._api.patch(f"{self._path}/{name}", change).ok()
        self.acts["edited"] += 1

    def _delete(self, name: str) -> None:
        self._api.delete(f"{self._path}/{name}").ok()
        del self.alive[name]
        self._gone.append(name)
        self.acts["deleted"] += 1


class Facts(NamedTuple):
    """What sharing depends on."""

    key: str
    ports: frozenset[tuple[str, int]]


class Held(NamedTuple):
    """What a status shows, what its owner wanted when it first did, and the facts at every revision since."""

    uid: str
    addresses: tuple[str, ...]
    wish: object
    facts: tuple[Facts, ...]


class Judge:
    """Reads every revision of every Service in a thread of its own, from `start` to `stop`."""

    def __init__(self, api: Api, namespace: str, *, since: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/services?watch=true&resourceVersion={since}&timeoutSeconds=600"
        self._thread = threading.Thread(target=self._read, name="judge", daemon=True)
        self._services: dict[str, Held] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        self._stories: defaultdict[str, list[str]] = defaultdict(list)
        self.last = 0
        self.revisions = 0
        self.given = 0
        self.broken: list[str] = []
        self.failed: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._api.abort()
        self._thread.join(10.0)

    def _read(self) -> None:
        try:
            for event in self._api.watch(self._path):
                if event["type"] not in {"ADDED", "MODIFIED", "DELETED"}:
                    raise AssertionError(f"the watch said {event}")
                self._look(event["object"], gone=event["type"] == "DELETED")
        except BaseException as error:  # noqa: BLE001  told to whoever waits for the judge
            self.failed = error

    def _look(self, service: Object, *, gone: bool) -> None:
        self.revisions += 1
        meta = service["metadata"]
        name, at = meta["name"], meta["resourceVersion"]
        before, now = self._services.get(name), held(service)
        told = [f"{one['reason']}: {one['message']}" for one in service["status"].get("conditions") or ()]
        self._stories[name].append(f"  {at} {now.uid[:4]} {meta.get('annotations')} {now.addresses} {told}")
        for address in before.addresses if before is not None else ():
            self._holders[address].discard(name)
        if gone:
            self._services.pop(name, None)
        else:
            if before is not None and before.uid == now.uid and before.addresses:
                if now.addresses == before.addresses:
                    now = before._replace(facts=(*before.facts, *now.facts))
                elif now.wish == before.wish:
                    story = "\n".join(self._stories[name])
                    self.broken.append(f"{at}: {name} had {before.addresses} and asks for the same:\n{story}")
            new = set(now.addresses).difference(before.addresses if before is not None else ())
            self.given += len(new)
            self._services[name] = now
            for address in now.addresses:
                for other in self._holders[address] if address in new else ():
                    theirs = self._services[other].facts
                    if why := min(may_not_share(now.facts[-1], fact) for fact in theirs):
                        self.broken.append(f"{at}: {address} is in the statuses of {name} and {other}: {why}")
                self._holders[address].add(name)
        self.last = int(at)


def held(service: Object) -> Held:
    """The facts of one revision."""
    meta, spec = service["metadata"], service["spec"]
    notes = meta.get("annotations") or {}
    ports = frozenset((port.get("protocol", "TCP"), port["port"]) for port in spec["ports"])
    asked = tuple(notes.get(word, "") for word in OWNERS_WORDS)
    ingress = service["status"]["loadBalancer"].get("ingress") or ()
    facts = Facts(notes.get(SHARED, ""), ports)
    return Held(meta["uid"], tuple(one["ip"] for one in ingress), (asked, ports), (facts,))


def given_twice(services: Iterable[Object]) -> list[str]:
    """What must be true once everybody is answered: whoever has an address in common may share it, or is told of the conflict.

    A rebuild that finds two who may not share any more, without a port in common, leaves both where they are.
    """
    holders: defaultdict[str, list[tuple[str, Facts]]] = defaultdict(list)
    for service in services:
        found, conditions = held(service), service["status"].get("conditions") or ()
        told = any(one["reason"] == "AddressConflict" for one in conditions if one["type"] == "purelb.io/Allocated")
        for address in () if told else found.addresses:
            holders[address].append((service["metadata"]["name"], found.facts[0]))
    return [
        f"{address} is in the statuses of {one} and {other}: {why}"
        for address, sharers in holders.items()
        for (one, mine), (other, theirs) in combinations(sharers, 2)
        if (why := may_not_share(mine, theirs))
    ]


def may_not_share(one: Facts, other: Facts) -> str:
    """Why not; empty if they may."""
    if not one.key or one.key != other.key:
        return "they have no sharing key in common"
    return f"both use {sorted(one.ports & other.ports)}" if one.ports & other.ports else ""

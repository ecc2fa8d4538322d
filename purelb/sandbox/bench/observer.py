# SPDX-License-Identifier: Apache-2.0
"""What a stranger sees: every version of every Service in the benchmark's namespace, and every address on the interfaces.

Times are of this process's own clock, taken when the event arrived here. The observer asks for nothing that a user could
not ask for, so what it sees is what a user gets.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from pyroute2 import AsyncIPRoute

from purelb.kube.decode import Event
from purelb.kube.resources import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from purelb.kube.client import ApiClient
    from purelb.kube.model import Service

NOTICED_EVERY_S: Final = 0.005
LOOKING_MOST: Final = 50  # a look is followed by a pause so many times as long


class Version(Struct, frozen=True):
    """One version of a Service as it arrived: when, its address (None: none yet) and its conditions' reasons."""

    at: float
    rv: str
    address: str | None
    reasons: tuple[str, ...]


class Observer:
    """`versions` of each Service by name; when each address appeared on an interface, and when it was gone from one."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.addresses: dict[str, float] = {}
        self.gone: dict[str, float] = {}

    def saw(self, service: Service, at: float) -> None:
        status = service.status
        ingress = (status.load_balancer.ingress or ()) if status and status.load_balancer else ()
        reasons = tuple(condition.reason for condition in (status.conditions or ())) if status else ()
        address = ingress[0].ip if ingress else None
        version = Version(at, service.metadata.resource_version, address, reasons)
        self.versions.setdefault(service.metadata.name, []).append(version)

    def served_at(self, name: str) -> float | None:
        """When the Service was first seen with an address."""
        return next((version.at for version in self.versions.get(name, ()) if version.address), None)

    def address(self, name: str) -> str | None:
        seen = self.versions.get(name)
        return seen[-1].address if seen else None

    def served(self, names: list[str]) -> list[float]:
        """When each of `names` that has an address got it."""
        return [at for name in names if (at := self.served_at(name)) is not None]

    def all_served(self, names: list[str]) -> bool:
        return len(self.served(names)) == len(names)

    def announced(self, name: str) -> bool:
        """Whether the newest version says that a node announces the Service's address."""
        return "AnnouncingLocal" in self.versions[name][-1].reasons

    def writes(self) -> int:
        """How many versions of all Services were seen, their creations among them."""
        return sum(map(len, self.versions.values()))


@asynccontextmanager
async def observing(client: ApiClient, namespace: str, *, links: bool) -> AsyncIterator[Observer]:
    """Watch Services of `namespace`, and with `links` the addresses of this network namespace."""
    seen = Observer()
    page = await client.list_page(SERVICES, namespace=namespace)

    async def watch_services() -> None:
        async with client.watch(SERVICES, namespace=namespace, rv=page.rv, timeout_s=3600) as stream:
            async for events in stream:
                now = time.perf_counter()
                for event in events:
                    if isinstance(event, Event) and event.type != "BOOKMARK":
                        seen.saw(event.object, now)

    async def watch_addresses(ipr: AsyncIPRoute) -> None:
        while True:
            async for message in ipr.get():
                if message["event"] in {"RTM_NEWADDR", "RTM_DELADDR"}:
                    times = seen.addresses if message["event"] == "RTM_NEWADDR" else seen.gone
                    times.setdefault(message.get("local") or message.get("address"), time.perf_counter())

    async with AsyncIPRoute() as ipr, asyncio.TaskGroup() as group:
        watching = [group.create_task(watch_services())]
        if links:
            await ipr.bind()
            watching.append(group.create_task(watch_addresses(ipr)))
        yield seen
        for task in watching:
            task.cancel()


async def until(what: str, holds: Callable[[], bool], *, within_s: float) -> None:
    """Wait until `holds()`; RuntimeError naming `what` when it does not within `within_s`.

    A look at a thousand Services takes a millisecond, so it is repeated less often: looking must not take the processor from what is
    looked at. When something happened is what the watch says; when it is noticed here is in no figure.
    """
    deadline = (began := time.perf_counter()) + within_s
    while not holds():
        looked = time.perf_counter()
        if looked > deadline:
            raise RuntimeError(f"not seen within {within_s:g} s: {what}")
        await asyncio.sleep(pause_after(looked - began))
        began = time.perf_counter()


def pause_after(look_s: float) -> float:
    """How long nobody looks after a look that took so many seconds: looking may take a fiftieth of one core at most."""
    return max(NOTICED_EVERY_S, LOOKING_MOST * look_s)

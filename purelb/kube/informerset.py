# SPDX-License-Identifier: Apache-2.0
"""The informers of one component, started, waited for and scraped together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from purelb.kube.model import KubeObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Never

    from purelb.kube.client import ApiClient
    from purelb.kube.informer import Informer
    from purelb.kube.metrics import Sample

T = TypeVar("T", bound=KubeObject)


class SyncTimeout(Exception):
    """Some informers were not filled in time. `laggards`: name to its last error, `""` when there was none."""

    def __init__(self, laggards: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {error or 'no answer yet'}" for name, error in laggards.items()))
        self.laggards = laggards


class InformerSet:
    """The informers of a component, run together. One for each resource, namespace and selectors, each with its own name."""

    def __init__(self, client: ApiClient) -> None:
        self._clock = client.clock
        self._informers: dict[tuple[str, str | None, str, str], Informer[Any]] = {}
        self._running = False

    def add(self, informer: Informer[T]) -> Informer[T]:
        """Take in an informer. Raises ValueError for a second one of a scope or name, RuntimeError once `run` was called."""
        if self._running:
            raise RuntimeError(f"the informer of {informer.name} comes too late to be run with the others")
        if informer.scope in self._informers:
            raise ValueError(f"there is an informer of {informer.scope} already: add a handler to that one")
        if informer.name in {known.name for known in self}:  # their series could not be told apart
            raise ValueError(f"there is an informer called {informer.name} already: give this one a name of its own")
        self._informers[informer.scope] = informer
        return informer

    def __iter__(self) -> Iterator[Informer[Any]]:
        return iter(tuple(self._informers.values()))

    @property
    def synced(self) -> bool:
        """Whether every informer has delivered its first list."""
        return all(informer.synced for informer in self._informers.values())

    async def wait_synced(self, timeout: float) -> None:
        """Wait for all of them; after `timeout` seconds `SyncTimeout` names those that are missing."""
        try:
            async with self._clock.timeout_at(self._clock.now() + timeout):
                for informer in self:
                    await informer.wait_synced()
        except TimeoutError:
            laggards = {each.name: each.last_error for each in self if not each.synced}
            raise SyncTimeout(laggards) from None

    def samples(self) -> Iterator[Sample]:
        """Gauges of all of them."""
        for informer in self:
            yield from informer.samples()

    async def run(self) -> Never:
        """Run all of them until cancelled."""
        self._running = True
        async with asyncio.TaskGroup() as group:
            for informer in self:
                group.create_task(informer.run(), name=f"informer:{informer.name}")
        raise AssertionError("informers never end by themselves")

# SPDX-License-Identifier: Apache-2.0
"""When an audit is due, and what it found that nothing explains.

An audit compares what is stored with a list from the quorum. Most of what differs was merely on its way, so each difference
is a suspect until an event shows the version that was listed (or the one that is stored: our own write may be ahead of the
events), or the deletion. What is left after a minute was never announced. Versions are compared for equality only.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from purelb.kube.decode import Poison
from purelb.kube.listwatch import Difference
from purelb.kube.model import KubeObject, key
from purelb.kube.store import Store

T = TypeVar("T", bound=KubeObject)

EXPLAINED_WITHIN: Final = 60.0


class Audit:
    """`every` 0: never."""

    def __init__(self, every: float, *, rng: Callable[[], float]) -> None:
        self._every = every
        self._rng = rng
        self._due: float | None = None
        self._suspects: dict[str, Difference] = {}
        self._judged_at: float | None = None

    @property
    def suspects(self) -> bool:
        """Whether there is anything that an event might explain."""
        return self._judged_at is not None

    @property
    def scheduled(self) -> bool:
        return self._due is not None

    def schedule(self, now: float) -> None:
        """The next one is one period ± 20 % from now, so that not all of a fleet lists at once."""
        self._due = now + self._every * (0.8 + 0.4 * self._rng()) if self._every else None

    def due(self, now: float) -> bool:
        """Whether it is time to list."""
        return self._due is not None and now >= self._due

    def deadline(self) -> float | None:
        """When `due` or `unexplained` may answer something."""
        return min((at for at in (self._due, self._judged_at) if at is not None), default=None)

    def suspect(self, differences: Mapping[str, Difference], now: float) -> None:
        """What the list of an audit shows otherwise than the store."""
        self._suspects = dict(differences)
        self._judged_at = now + EXPLAINED_WITHIN if differences else None

    def saw(self, key: str, rv: str, *, deleted: bool) -> None:
        """An event about an object."""
        suspect = self._suspects.get(key)
        if suspect is not None and ((deleted and suspect.listed is None) or rv in {suspect.here, suspect.listed}):
            del self._suspects[key]
            if not self._suspects:
                self._judged_at = None

    def acquit(self) -> None:
        """Everything was fetched anew: there is nothing left to explain."""
        self._suspects, self._judged_at = {}, None

    def unexplained(self, now: float) -> tuple[str, ...]:
        """The keys that no event has explained in time, sorted; empty before that."""
        if self._judged_at is None or now < self._judged_at:
            return ()
        return tuple(sorted(self._suspects))


class Comparison(Generic[T]):
    """A list beside a store, object by object, so that its driver can give others a turn.

    What the store could not take in an object's present version is known to be behind, and no difference.
    """

    def __init__(self, store: Store[T]) -> None:
        self._store = store
        self._listed: set[str] = set()
        self._differences: dict[str, Difference] = {}

    def take(self, obj: T) -> None:
        """One object of the list."""
        self._take(key(obj), obj.metadata.resource_version)

    def refuse(self, poison: Poison) -> None:
        """One object of the list that does not decode."""
        self._take(poison.key, poison.rv)

    def differences(self) -> dict[str, Difference]:
        """All of them, once everything was taken."""
        gone = (name for name in self._store.keys() if name not in self._listed)  # noqa: SIM118  not a mapping
        return self._differences | {name: Difference(self._here(name), None) for name in gone}

    def _take(self, name: str, listed: str) -> None:
        if not name:
            return
        self._listed.add(name)
        here = self._here(name)
        if here != listed and name not in self._store.undecodable:
            self._differences[name] = Difference(here, listed)

    def _here(self, name: str) -> str | None:
        stored = self._store.get(name)
        return None if stored is None else stored.metadata.resource_version

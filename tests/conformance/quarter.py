# SPDX-License-Identifier: Apache-2.0
"""A quarter of a city: one namespace whose Services ask one group for addresses, allocators, and a judge who reads every revision.

Writes to the statuses of its Services pass the test's webhook, so a fault hits the write that it is meant for. Nothing here knows
what the fault is. Whoever leaves the quarter is told if an address stood in two statuses at any revision.
"""

from __future__ import annotations

import contextlib
import secrets
import threading  # noqa: TID251  a test may: the webhook's writes wait in threads of their own
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Self

from hack.processes import wait_until
from hack.webhook import Patch, Seen, Webhook, nothing
from tests.conformance.crowd import Judge, given_twice
from tests.conformance.manifests import Applier
from tests.conformance.replicas import Replicas, remote_group
from tests.conformance.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from hack.control_plane import ControlPlane
    from tests.conformance.witness import Asked

Service = dict[str, Any]

WATCHED: Final = {"watched": "by-the-test"}
HELD_FOR_S: Final = 25.0  # the API server gives a webhook 30 s


class Hold:
    """A look for `Webhook.see`: from the `first`-th write on, each waits in admission until `open`."""

    def __init__(self, *, first: int = 1) -> None:
        self._first = first
        self._number = count(1)
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, _seen: Seen) -> Patch:
        if next(self._number) >= self._first:
            self._reached.set()
            if not self._open.wait(HELD_FOR_S):
                raise TimeoutError(f"nobody let the write go on within {HELD_FOR_S:g} s")
        return []

    def wait_reached(self) -> None:
        """Until a write waits."""
        wait_until("a write waits in admission", lambda: self._reached.is_set() or "none", within_s=HELD_FOR_S)

    def open(self) -> None:
        self._open.set()


class Quarter:
    """Made by entering; leaving ends its allocators, removes what it made and asks the judge."""

    def __init__(self, plane: ControlPlane, webhook: Webhook, directory: Path, *, number: int) -> None:
        self.plane = plane
        self.webhook = webhook
        self.api = plane.api()
        self.replicas = Replicas(plane, directory)
        self.witness = Witness(plane.audit_log)
        self.namespace = f"purelb-conf-{secrets.token_hex(4)}"
        self.path = f"/api/v1/namespaces/{self.namespace}/services"
        self._prefix = f"10.80.{number}."
        self._applier = Applier(self.api)
        self._group: Service = {}

    def __enter__(self) -> Self:
        metadata = {"name": self.namespace, "labels": WATCHED}
        self._applier.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        since = self.api.get(self.path).ok()["metadata"]["resourceVersion"]
        self.judge = Judge(self.plane.api(), self.namespace, since=since)
        self.judge.start()
        self.webhook.failed.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._verdict()
        finally:
            self.webhook.see = nothing
            self.judge.stop()
            self.replicas.stop()
            self.api.delete(self.path).ok()
            self.api.delete(f"/api/v1/namespaces/{self.namespace}").ok()
            if self._group:
                self.api.delete(self._applier.path(self._group)).ok()
            self.api.close()

    def _verdict(self) -> None:
        settled = self.judge_has_read()
        assert not self.judge.broken, "\n".join(self.judge.broken)
        assert given_twice(settled["items"]) == []
        assert not self.webhook.failed, self.webhook.failed

    def judge_has_read(self) -> Any:
        """Wait until the judge has seen all there is now; the Services as they are."""
        settled = self.api.get(self.path).ok()
        newest = max((int(item["metadata"]["resourceVersion"]) for item in settled["items"]), default=0)
        wait_until(
            "the judge has read it all",
            lambda: self.judge.last >= newest or self.judge.failed is not None or self.judge.last,
            within_s=30,
        )
        assert self.judge.failed is None, self.judge.failed
        return settled

    # --- what people do

    def address(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def pool(self, first: int, last: int, **spec: Any) -> None:
        """The group of this quarter, `default`, has these addresses and says this; the first call makes it."""
        pool = f"{self.address(first)}-{self.address(last)}"
        self._group = remote_group("default", pool, subnet=f"{self._prefix}0/24", **spec)
        self._applier.apply([self._group])

    def create(self, *names: str, labels: dict[str, str] | None = None) -> None:
        """Services of our class, one after the other."""
        for name in names:
            metadata = {"name": name, "labels": labels or {}}
            spec = {
                "type": "LoadBalancer",
                "loadBalancerClass": "purelb.io/purelb",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 80}],
            }
            body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
            self.api.post(self.path, body).ok()

    def edit(self, name: str, change: Service) -> None:
        self.api.patch(f"{self.path}/{name}", change).ok()

    def delete(self, name: str) -> None:
        self.api.delete(f"{self.path}/{name}").ok()

    # --- what one sees

    def published(self) -> dict[str, tuple[str, ...]]:
        """Every Service and what its status says."""
        items = self.api.get(self.path).ok()["items"]
        return {
            item["metadata"]["name"]: tuple(
                entry["ip"] for entry in item["status"]["loadBalancer"].get("ingress") or ()
            )
            for item in items
        }

    def wait_served(self, *names: str, within_s: float = 60.0) -> dict[str, tuple[str, ...]]:
        """Until these Services, or all, have an address; what all have then."""

        def probe() -> object:
            found = self.published()
            without = [name for name in names or found if not found[name]]
            return not without or f"{len(without)} of {len(found)} have no address: {without[:5]}"

        alive = [process for process in self.replicas.processes if process.returncode is None]
        wait_until("everybody has an address", probe, within_s=within_s, alive=alive)
        return self.published()

    def attempts(self, name: str) -> list[Asked]:
        """Every attempt to write the status of a Service, in the order in which they ended."""
        return self.witness.publications(self.namespace, name)

    def events(self, about: str, reason: str) -> int:
        """How often an Event of this reason was told of a Service."""
        items = self.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events").ok()["items"]
        return sum(
            (item.get("series") or {"count": 1})["count"]
            for item in items
            if (item["regarding"]["name"], item["reason"]) == (about, reason)
        )


@contextlib.contextmanager
def asked_first(plane: ControlPlane) -> Iterator[Webhook]:
    """A webhook that the API server asks about every write to the status of a Service in a quarter."""
    with Webhook(plane.server_certificate("webhook")) as webhook, contextlib.closing(plane.api()) as api:
        applier = Applier(api)
        made = webhook.configuration("quarter", ca=plane.ca, resources=["services/status"], selector=WATCHED)
        name = f"purelb-conf-{secrets.token_hex(4)}"
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": WATCHED}}
        probe = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "probe", "namespace": name},
            "spec": {"ports": [{"port": 80}]},
        }
        applier.apply([space, probe, made])
        seen: list[str] = []

        def look(review: Seen) -> Patch:
            seen.append(review.name)
            return []

        def asked() -> object:
            api.patch(f"{applier.path(probe)}/status", {"metadata": {"labels": {"try": secrets.token_hex(4)}}}).ok()
            return bool(seen)

        webhook.see = look
        wait_until("the API server asks the webhook", asked, within_s=30)
        webhook.see = nothing
        api.delete(f"/api/v1/namespaces/{name}").ok()
        yield webhook


def in_turn(looks: Iterable[Callable[[Seen], Patch]]) -> Callable[[Seen], Patch]:
    """One look for the first write, the next for the second; what comes later is admitted."""
    waiting = iter(looks)

    def see(seen: Seen) -> Patch:
        return next(waiting, nothing)(seen)

    return see

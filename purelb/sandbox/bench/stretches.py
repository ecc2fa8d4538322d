# SPDX-License-Identifier: Apache-2.0
"""For how long the runtime keeps the event loop to itself: one list of 10,000 Services, and lines that a hostile server sends.

A stretch is what lies between two looks of the loop at its sockets, in CPU time of the thread, so another process that takes the
processor away does not count. Measured with a selector of our own, which sees every turn and costs nothing in between.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import time
from typing import TYPE_CHECKING, Any, Final

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.decode import Codec
from purelb.kube.informer import Informer
from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import recorded
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row

if TYPE_CHECKING:
    from purelb.kube.model import Service

OBJECTS: Final = 10_000
TRIALS: Final = 3


class Turns(selectors.DefaultSelector):
    """Notes the longest stretch of CPU between two selects. `longest` may be set to 0 to begin again."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self._since: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._since is not None:
            self.longest = max(self.longest, time.thread_time() - self._since)
        found = super().select(timeout)
        self._since = time.thread_time()
        return found


class _Heard:
    """A handler that does as little as a handler can."""

    def __init__(self) -> None:
        self.added_count = 0

    def added(self, obj: Service, *, initial: bool) -> None:  # noqa: ARG002
        self.added_count += 1

    def updated(self, old: Service, new: Service) -> None:
        pass

    def deleted(self, obj: Service, *, final: bool) -> None:
        pass


async def _listed(url: str, turns: Turns) -> tuple[float, float]:
    """The longest stretch from the request to the last object decoded, and of store and delivery after that."""
    async with ApiClient(fixed_access(url), user_agent="bench", clock=SystemClock()) as client:
        turns.longest = 0.0
        page = await client.list_page(SERVICES, labels=f"n={OBJECTS}")
        decoding = turns.longest
        if len(page.objects) != OBJECTS:
            raise RuntimeError(f"{len(page.objects)} objects came, {len(page.poison)} could not be read")
        del page
        informer: Informer[Service] = Informer(
            client,
            SERVICES,
            labels=f"n={OBJECTS}",
            mode="list",
            indices={"namespace": lambda service: (service.metadata.namespace,)},
        )
        heard = _Heard()
        informer.add_handler(heard)
        turns.longest = 0.0
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informer.run())
            await informer.wait_synced()
            running.cancel()
        if heard.added_count != OBJECTS:
            raise RuntimeError(f"{heard.added_count} of {OBJECTS} objects were delivered")
        return decoding, turns.longest


def listing(url: str) -> list[Row]:
    """A list of 10,000 Services against one `json.loads` of the same body. Runs a loop of its own."""
    body = recorded.listed("service", OBJECTS)
    whole, alone, informed = [], [], []
    for _ in range(TRIALS):
        began = time.thread_time()
        json.loads(body)
        whole.append((time.thread_time() - began) * 1000)
        turns = Turns()
        with asyncio.Runner(loop_factory=lambda turns=turns: asyncio.SelectorEventLoop(turns)) as runner:  # type: ignore[misc]
            decoding, informing = runner.run(_listed(url, turns))
        alone.append(decoding * 1000)
        informed.append(informing * 1000)
    json_case = "json.loads of a list of 10000 Services, one piece"
    ratio = Ratio(to=json_case, value=round(percentile(alone, 0.5) / percentile(whole, 0.5), 3))
    case = "longest stretch on the loop: client, list of 10000 Services"
    return [
        row(suite="runtime", case=json_case, unit="ms", values=whole),
        row(suite="runtime", case=case, unit="ms", values=alone, ratio=ratio, budget=Budget(of="ratio", at_most=0.1)),
        row(suite="runtime", case=f"{case}, absolute", unit="ms", values=alone, budget=Budget(of="p50", at_most=50)),
        row(
            suite="runtime",
            case="longest stretch on the loop: informer with an index and a handler, the same list",
            unit="ms",
            values=informed,
            budget=Budget(of="p50", at_most=50),
        ),
    ]


def _hostile() -> dict[str, bytes]:
    """Lines of a watch that cost most for their kind."""
    deep = b"[" * 100_000
    labels = json.dumps({f"label-{number}": "x" * 100 for number in range(80_000)}).encode()
    meta = b'"metadata":{"name":"a","labels":'
    return {
        "nested 100 000 deep": b'{"type":"ADDED","object":{"kind":"Service","x":' + deep + b"]" * 100_000 + b"}}",
        "a label of 10 MB": b'{"type":"ADDED","object":{"kind":"Service",'
        + meta
        + b'{"x":"'
        + b"y" * 10_000_000
        + b'"}}}}',
        "80 000 labels, 10 MB": b'{"type":"ADDED","object":{"kind":"Service",' + meta + labels + b"}}}",
        "10 MB of a field nobody reads": b'{"type":"ADDED","object":{"kind":"Service","x":"'
        + b"y" * 10_000_000
        + b'"}}',
        "10 MB that break off": b'{"type":"ADDED","object":{"kind":"Service","x":"' + b"y" * 10_000_000,
        "a wrong type behind 10 MB": b'{"type":"ADDED","object":{"kind":"Service","x":"'
        + b"y" * 10_000_000
        + b'","spec":5}}',
    }


def hostile() -> list[Row]:
    """CPU of one line of a watch, for each of the worst ones."""
    codec = Codec(SERVICES)
    rows = []
    for name, line in _hostile().items():
        times = []
        for _ in range(TRIALS):
            began = time.thread_time()
            codec.event(line)
            times.append((time.thread_time() - began) * 1000)
        case = f"one line of a watch: {name}"
        rows.append(row(suite="runtime", case=case, unit="ms", values=times, budget=Budget(of="p50", at_most=50)))
    return rows

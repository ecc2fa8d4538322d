# SPDX-License-Identifier: Apache-2.0
"""What stands between components and a server takes down what they send, and judges it.

Shared by the tests on the API server in memory and those on a real one. What must hold of writes: none is sent again after an
answer that settled it, none after its fence or beside another leader's. Of memory: at rest a component holds as much as before.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tests.kube.whole import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from purelb.kube.clock import Clock
    from purelb.kube.elector import Term
    from purelb.kube.transport import Request, Response, Transport
    from tests.kube.whole import Marker

SERVICES = "/api/v1/namespaces/default/services"


class Sent(Struct):
    """A request as it left a component; `code` None: it had no answer."""

    who: str
    at: float
    method: str
    path: str
    query: str
    body: bytes
    code: int | None = None


class Wire:
    """What a component sends, on its way to the server."""

    def __init__(self, inner: Transport, who: str, clock: Clock, log: list[Sent]) -> None:
        self._inner = inner
        self._who = who
        self._clock = clock
        self._log = log

    async def exchange(self, request: Request) -> Response:
        sent = self._sent(request)
        answer = await self._inner.exchange(request)
        sent.code = answer.status
        return answer

    def stream(self, request: Request) -> Any:
        self._sent(request)
        return self._inner.stream(request)

    def _sent(self, request: Request) -> Sent:
        path, _, query = request.target.partition("?")
        made = Sent(self._who, self._clock.now(), request.method, path, query, request.body)
        self._log.append(made)
        return made


class Fenced:
    """The transport of one term's writes: it takes down in `wrongs` what should not have been sent."""

    def __init__(
        self, inner: Transport, term: Term, *, clock: Clock, terms: Callable[[], Iterable[Term]], wrongs: list[str]
    ) -> None:
        self._inner = inner
        self._term = term
        self._clock = clock
        self._terms = terms
        self._wrongs = wrongs

    async def exchange(self, request: Request) -> Response:
        now = self._clock.now()
        if not self._term.fence.valid(now):
            self._wrongs.append(f"{request.method} {request.target} at {now}, after its fence")
        if any(term.fence.valid(now) for term in self._terms() if term.fence is not self._term.fence):
            self._wrongs.append(f"{request.method} {request.target} at {now}, beside another leader")
        return await self._inner.exchange(request)

    def stream(self, request: Request) -> Any:
        return self._inner.stream(request)


def sent_again(log: Iterable[Sent], markers: Iterable[Marker]) -> dict[tuple[str, str, str], int]:
    """The marks (key, mark, version it was based on) that were sent more often than tickets and lost answers explain."""
    allowed: Counter[tuple[str, str, str]] = Counter()
    for marker in markers:
        allowed.update(marker.submitted)
    sent: Counter[tuple[str, str, str]] = Counter()
    for each in log:
        if each.method == "PATCH" and each.path.startswith(SERVICES):
            meta = msgspec.json.decode(each.body)["metadata"]
            what = (f"default/{each.path.rpartition('/')[2]}", meta["annotations"][MARK], meta["resourceVersion"])
            sent[what] += 1
            allowed[what] += each.code is None or each.code == 429 or each.code >= 500
    return {what: count for what, count in sent.items() if count > allowed[what]}


def one_result_each(marker: Marker) -> bool:
    """Whether each ticket of the component's writers had exactly one result."""
    return [len(answers) for answers in marker.tickets] == [1] * len(marker.tickets)


def held(markers: Sequence[Marker]) -> Counter[str]:
    """How many objects of our classes there are, tasks and futures included, without what the components keep for tests."""
    for marker in markers:
        assert one_result_each(marker)
        marker.tickets.clear()
        marker.submitted.clear()
        marker.terms[:-1] = []
    gc.collect()
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects() if is_ours(each))


def is_ours(each: object) -> bool:
    if isinstance(each, asyncio.Handle) and each.cancelled():
        return False  # the loop throws these away when it has collected many
    return str(type(each).__module__).startswith(("purelb.", "_asyncio", "asyncio", "tests.kube.cancelling"))

# SPDX-License-Identifier: Apache-2.0
"""The tasks that talk to sources, four at once per server; what a source answers, or that it did not, comes back under a ticket.

A source that hangs, raises or is cancelled from within is answered for: the call ends after `CALL_FOR`, with a refusal that names what
happened, and its neighbours never notice. Every call is answered exactly once, unless the term ends first; then nobody is left to take
the answer, and what a source gave meanwhile is found by the next `adopt`. While the term ends in peace (`close`), an address that
arrives is given back at once, for nobody will publish it.

Bound: one waiting call per Service that asks or returns, two per group, and four tasks per server that was ever named in this term.
Rejected: a task per call without a limit; a thousand pending Services would be a thousand connections to one server.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Never, assert_never

from purelb.allocator import refusals as because
from purelb.allocator.refusals import Refusal
from purelb.allocator.sources.source import (
    Adopted,
    Answer,
    Call,
    Factory,
    Granted,
    Held,
    Source,
    Usage,
    Verb,
    section_of,
    server_of,
    source_text,
)
from purelb.api.groups import Group
from purelb.kube.clock import Clock
from purelb.kube.failures import failure

log: Final = logging.getLogger(__name__)

CALL_FOR: Final = 30.0
AT_ONCE: Final = 4


class Callers:
    """`answered` is called once per call, from the task that made it, so nothing is decided there."""

    def __init__(
        self, factories: Mapping[str, Factory], *, clock: Clock, answered: Callable[[int, Answer], None]
    ) -> None:
        self._factories = factories
        self._clock = clock
        self._answered = answered
        self._sources: dict[str, tuple[object, Source]] = {}
        self._lines: dict[str, asyncio.Queue[Call]] = {}
        self._unmanned: asyncio.Queue[asyncio.Queue[Call]] = asyncio.Queue()
        self._closing = False

    def submit(self, call: Call) -> None:
        """Make the call some time; its answer comes under its ticket."""
        server = server_of(call.group)
        line = self._lines.get(server)
        if line is None:
            line = self._lines[server] = asyncio.Queue()
            self._unmanned.put_nowait(line)
        line.put_nowait(call)

    def close(self) -> None:
        """Nobody will publish what is given from now on."""
        self._closing = True

    async def run(self) -> Never:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                line = await self._unmanned.get()
                for number in range(AT_ONCE):
                    group.create_task(self._serve(line), name=f"allocator:source-{number}")
        raise AssertionError("the loop above does not end")

    async def _serve(self, line: "asyncio.Queue[Call]") -> Never:
        while True:
            call = await line.get()
            answer = await self._made(call)
            if self._closing and isinstance(answer, Granted) and call.ask is not None:
                for grant in answer.grants:
                    held = Held(call.ask.service, call.ask.uid, grant.ip, grant.reference)
                    await self._made(Call(call.ticket, call.group, "release", held=held))
            self._answered(call.ticket, answer)

    async def _made(self, call: Call) -> Answer:
        task = asyncio.current_task()
        try:
            async with self._clock.timeout_at(self._clock.now() + CALL_FOR):
                answer: Any = await _carry_out(self._source(call.group), call)
        except TimeoutError:
            problem = f"no answer to {call.verb} within {CALL_FOR:.0f} s"
        except asyncio.CancelledError:
            if task is None or task.cancelling():
                raise
            problem = f"the call {call.verb} ended without an answer"
        except Exception as error:
            log.exception(
                "a source raised instead of answering",
                extra={"code": "sourceRaised", "group": call.group.name, **failure(error)},
            )
            problem = f"{call.verb} failed: {type(error).__name__}"
        else:
            if _fits(call.verb, answer):
                return answer  # type: ignore[no-any-return]
            problem = f"{call.verb} answered {type(answer).__name__}"
        return because.ipam_unavailable(source_text(call.group), problem)

    def _source(self, group: Group) -> Source:
        known = self._sources.get(group.name)
        if known is None or known[0] != section_of(group):
            known = self._sources[group.name] = (section_of(group), self._factories[group.source](group))
        return known[1]


async def _carry_out(source: Source, call: Call) -> Answer:
    match call.verb:
        case "allocate":
            assert call.ask is not None  # noqa: S101 - so it was made
            return await source.allocate(call.ask)
        case "release":
            assert call.held is not None  # noqa: S101 - so it was made
            return await source.release(call.held)
        case "adopt":
            claims: Sequence[Held] = call.claims
            return await source.adopt(claims)
        case "usage":
            return await source.usage()
        case _:
            assert_never(call.verb)


def _fits(verb: Verb, answer: object) -> bool:
    """Whether it is an answer to this question at all."""
    if isinstance(answer, Refusal):
        return True
    match verb:
        case "allocate":
            return isinstance(answer, Granted)
        case "release":
            return answer is None
        case "adopt":
            return isinstance(answer, Adopted)
        case "usage":
            return isinstance(answer, Usage)
        case _:
            assert_never(verb)

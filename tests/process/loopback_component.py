# SPDX-License-Identifier: Apache-2.0
"""A component that only waits, run as a process by the tests of the process itself: what it does is an argument."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager

from purelb.kube.metrics import Sample
from purelb.kube.resources import Access
from purelb.process.component import CannotStart, Phase, PhaseTracker
from purelb.process.dryrun import Plan, Rehearsal
from purelb.process.options import ProcessSettings
from purelb.process.preflight import Needs
from purelb.process.runtime import ComponentCommand, Edges


class Waiting:
    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour
        self._phase = PhaseTracker()
        self._stop = asyncio.Future[None]()

    async def run(self) -> None:
        match self._behaviour:
            case "returns":
                return
            case "raises":
                raise ValueError("nobody thought of this")
            case "cannot-start":
                raise CannotStart("kernel", "kernel 4.17 is older than 4.18, the oldest supported", "upgrade")
            case _:
                if self._behaviour == "asks-a-name":
                    asyncio.get_running_loop().run_in_executor(None, Future[None]().result)  # nobody will answer
                self._phase.become("Running")
                await self._stop
                if self._behaviour == "hangs":
                    await asyncio.sleep(3600)

    def stop(self) -> None:
        self._phase.become("Draining")
        self._stop.set_result(None)

    def phase(self) -> Phase:
        return self._phase.current

    def checks(self) -> Mapping[str, str | None]:
        if self._behaviour == "is-missing":
            return {"phase": None, "node": "the Node does not exist"}
        return {"phase": None if self._phase.current == "Running" else f"the phase is {self._phase.current}"}

    def health(self) -> Mapping[str, str | None]:
        return {"owner": None}

    def show(self, *, most: int) -> Mapping[str, object]:
        item = "x" * 400 if self._behaviour == "knows-much" else "key"
        return {"view": {"behaviour": self._behaviour}, "queue": [item] * most}

    def samples(self) -> Iterable[Sample]:
        return ()


class Later:
    """Built inside the running loop, since a future belongs to one."""

    def __init__(self, behaviour: str) -> None:
        if behaviour == "cannot-be-built":
            raise ValueError("nobody thought of this")
        self._behaviour = behaviour
        self._made: Waiting | None = None

    @property
    def made(self) -> Waiting:
        if self._made is None:
            self._made = Waiting(self._behaviour)
        return self._made

    async def run(self) -> None:
        await self.made.run()

    def stop(self) -> None:
        self.made.stop()

    def phase(self) -> Phase:
        return self.made.phase()

    def checks(self) -> Mapping[str, str | None]:
        return self.made.checks()

    def health(self) -> Mapping[str, str | None]:
        return self.made.health()

    def show(self, *, most: int) -> Mapping[str, object]:
        return self.made.show(most=most)

    def samples(self) -> Iterable[Sample]:
        return self.made.samples()


def build(settings: ProcessSettings, _: Edges) -> Later:
    return Later(settings.namespace)


def needs(_: ProcessSettings) -> Needs:
    rows = (Access(resource="services", subresource="status", verbs=("patch",), reason="publish addresses"),)
    return Needs(who="the waiting one", rows=rows, kinds=())


@asynccontextmanager
async def rehearsal(settings: ProcessSettings, edges: Edges, plan: Plan) -> AsyncIterator[Rehearsal]:
    """Says what its name says it would do; one that hangs is never at rest."""
    component = build(settings, edges)
    if settings.namespace == "raises":
        raise CannotStart("kernel", "kernel 4.17 is older than 4.18, the oldest supported", "upgrade")
    if settings.namespace == "changes":
        plan.say("thing", "+ thing")
    yield Rehearsal(component, lambda: settings.namespace not in {"hangs", "is-missing"})


if __name__ == "__main__":
    command = ComponentCommand(
        name="waiting",
        help="waits",
        settings=ProcessSettings,
        build=build,
        rehearsal=rehearsal,
        needs=needs,
        metrics=(),
    )
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.configure(parser)
    arguments, arguments_unknown = parser.parse_known_args()
    arguments.unknown = arguments_unknown
    sys.exit(command.run(arguments))

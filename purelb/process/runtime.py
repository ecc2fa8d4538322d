# SPDX-License-Identifier: Apache-2.0
"""From the command line to a running component and back: settings, log, listener, signals, exit codes.

The order of a start: settings, log, handlers of faults and signals, self-checks, listener, component. What the ends of tasks
mean is in `supervision`, what signals mean in `signals`.

An API server that is down never ends a process: a crash loop would add minutes of back-off to the outage.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib.metadata
import logging
import os
import platform
import socket
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Never, TypeVar

from msgspec import Struct
from msgspec.structs import fields as struct_fields

from purelb.kube import metrics as kube_metrics
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock, SystemClock
from purelb.kube.errors import AccessError
from purelb.kube.metrics import Metric, Sink
from purelb.process import dryrun, http, logs, scrapers, statedoc, statesocket
from purelb.process import metrics as process_metrics
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.process.component import PHASES, CannotStart, Component
from purelb.process.lag import Lag, sample
from purelb.process.metrics import Registry, process_samples
from purelb.process.options import MODE_RULES, RULES, Modes, ProcessSettings
from purelb.process.preflight import Needs, Preflight
from purelb.process.reach import reach
from purelb.process.settings import Loaded, Problem, add_flags, as_yaml, load
from purelb.process.signals import Signals, tasks
from purelb.process.statedoc import Decisions, settings_of
from purelb.process.supervision import Roll, no_access, run, supervise, tell, verdict
from purelb.process.tls import Certificates

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from purelb.process.dryrun import Plan, Rehearsal

log = logging.getLogger(__name__)

LAG_JUDGED_S: Final = 30.0
DUMP_BYTES: Final = 44 * 1024
"""Of the state in the log: the tasks come on top, and a line holds 64 KiB."""
GC_AFTER_ALLOCATIONS: Final = 10_000


S = TypeVar("S", bound=ProcessSettings)


class Edges(Struct, frozen=True):
    """What a process hands to the component it builds."""

    clock: Clock
    sink: Sink


class Ground(Struct, frozen=True):
    """What a process stands on before anything runs: its listener's sockets and certificate, or why it has none."""

    sockets: list[socket.socket]
    certificates: Certificates | None
    failures: tuple[CannotStart, ...]

    @classmethod
    def of(cls, settings: ProcessSettings) -> Ground:
        """Take the port and read the files."""
        sockets: list[socket.socket] = []
        certificates: Certificates | None = None
        failures: list[CannotStart] = []
        try:
            sockets = http.listen(settings.host, settings.port)
        except CannotStart as failure:
            failures.append(failure)
        cert, key = settings.metrics_tls_cert, settings.metrics_tls_key
        try:
            if cert is not None and key is not None:
                certificates = Certificates(cert=cert, key=key, client_ca=settings.metrics_client_ca)
        except CannotStart as failure:
            failures.append(failure)
        return cls(sockets, certificates, tuple(failures))

    def close(self) -> None:
        """Give the port back."""
        for each in self.sockets:
            each.close()


class ComponentCommand(Generic[S]):
    """The subcommand that runs a component until a signal.

    `self_checks` answer, before anything is started, why the environment cannot work (exit code 3); `rules` judge settings
    together (exit code 2).
    """

    takes_unknown = True

    def __init__(
        self,
        *,
        name: str,
        help: str,  # noqa: A002  the word of argparse
        settings: type[S],
        build: Callable[[S, Edges], Component],
        metrics: Sequence[Metric],
        needs: Callable[[S], Needs],
        rehearsal: Callable[[S, Edges, Plan], AbstractAsyncContextManager[Rehearsal]],
        rules: Sequence[Callable[[S], Iterable[Problem]]] = (),
        self_checks: Callable[[S], Sequence[CannotStart]] = lambda _: (),
    ) -> None:
        self.name = name
        self.help = help
        self._settings = settings
        self._build = build
        self._rehearsal = rehearsal
        self._needs = needs
        self._metrics = (*process_metrics.METRICS, *kube_metrics.METRICS, *metrics)
        self._rules = rules
        self._self_checks = self_checks

    def configure(self, parser: argparse.ArgumentParser) -> None:
        add_flags(parser, self._settings)
        add_flags(parser, Modes)

    def run(self, arguments: argparse.Namespace) -> int:
        how = load(Modes, flags=_given(Modes, arguments), environment=os.environ, config=None, rules=MODE_RULES)
        wrong: tuple[Problem, ...] = () if isinstance(how, Loaded) else how
        loaded = load(
            self._settings,
            flags=_given(self._settings, arguments),
            unknown=arguments.unknown,
            environment=os.environ,
            config=how.settings.config if isinstance(how, Loaded) else None,
            rules=(*RULES, *self._rules),
        )
        if not isinstance(loaded, Loaded):
            wrong = (*loaded, *wrong)
        if wrong or not isinstance(how, Loaded) or not isinstance(loaded, Loaded):
            print("\n".join(map(str, wrong)), file=sys.stderr)
            return BAD_USAGE
        modes = how.settings
        if modes.print_config:
            print(as_yaml(loaded), end="")
            return DONE
        faulthandler.enable()
        clock = SystemClock()
        registry = Registry(self._metrics, per_object=loaded.settings.metrics_per_service)
        lines = logs.configure(
            component=self.name,
            level=loaded.settings.log_level,
            form=loaded.settings.log_format,
            clock=clock,
            sink=registry,
            stream=sys.stderr if modes.dry_run != "off" else None,
        )
        if modes.dry_run != "off":
            if loaded.settings.log_level == "info":
                lines.addFilter(dryrun.quiet)
            prepare = partial(self._rehearsal, loaded.settings, Edges(clock, registry))
            return run(dryrun.rehearse(prepare, name=self.name, how=modes.dry_run, clock=clock))
        ground = Ground.of(loaded.settings)
        failures = [*self._self_checks(loaded.settings), *ground.failures]
        if modes.check:
            ground.close()
            failures += statesocket.why_not(loaded.settings.state_socket)
            needs = self._needs(loaded.settings)
            asking = ask_once(loaded.settings, needs, name=self.name, clock=clock, sink=registry)
            return run(_checked(failures, asking))
        for failure in failures:
            tell(failure)
        if failures:
            ground.close()
            return CANNOT_WORK_HERE
        decisions = Decisions(clock)
        logging.getLogger("purelb").addHandler(decisions)
        _say_starting(loaded)
        try:
            component = self._build(loaded.settings, Edges(clock, registry))
        except Exception as failure:  # noqa: BLE001  a mistake of ours, said as every other one
            return verdict(BaseExceptionGroup("build", [failure]))
        # What is imported lives for ever, and most of what comes later is trees that hold no cycles: look for cycles
        # among little, and seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_AFTER_ALLOCATIONS, 20, 20)
        return run(
            serve(
                component,
                name=self.name,
                settings=loaded.settings,
                ground=ground,
                clock=clock,
                registry=registry,
                decisions=decisions,
                sources=loaded.sources,
                summaries=lines.sum_up,
            )
        )


async def serve(
    component: Component,
    *,
    name: str,
    settings: ProcessSettings,
    ground: Ground,
    clock: Clock,
    registry: Registry,
    decisions: Decisions,
    sources: Mapping[str, str],
    summaries: Callable[[], Coroutine[Any, Any, Never]],
) -> int:
    """Run `component` with its listener until it is told to stop; the answer is the exit code. `summaries` runs beside it.

    `sources`: where each setting came from; `decisions` were collected since the start.
    """
    lag = Lag()
    version, revision = build_version()

    def samples() -> Iterator[kube_metrics.Sample]:
        now = clock.now()
        yield from process_samples(
            version=version, revision=revision, phase=component.phase(), phases=PHASES, lag=lag.worst(now)
        )
        yield from component.samples()

    def health() -> Mapping[str, str | None]:
        worst = lag.worst(clock.now(), within=LAG_JUDGED_S)
        late = worst >= settings.max_loop_lag
        loop = f"the event loop was {worst:.1f} s late" if late else None
        return {"loop": loop, **component.health(), "tasks": roll.trouble()}

    def state(most: int) -> Mapping[str, object]:
        said = {"checks": component.checks(), "health": health()}
        answers = {what: {check: text or "ok" for check, text in found.items()} for what, found in said.items()}
        return {
            "version": version,
            "revision": revision,
            "time": clock.wall().isoformat(timespec="milliseconds"),
            "phase": component.phase(),
            **answers,
            "settings": settings_of(settings, sources),
            "loopLag": round(lag.worst(clock.now()), 3),
            "limits": registry.limits(),
            "decisions": decisions.last(most),
            **component.show(most=most),
        }

    def whole() -> Mapping[str, object]:
        return {"component": name, **state(statedoc.ITEMS_MAX), "tasks": tasks()}

    def brief() -> Mapping[str, object]:
        return statedoc.fitting(state, max_bytes=DUMP_BYTES)

    registry.samples = samples
    signals = Signals(level=settings.log_level, state=brief, clock=clock)
    roll = Roll(signals.asked)
    beside = {"lag": sample(lag, clock), "log": summaries(), "debug": signals.calm()}
    try:
        async with AsyncExitStack() as stack:
            certificates = ground.certificates
            app = http.application(
                metrics=registry.text,
                health=health,
                ready=component.checks,
                clock=clock,
                tls=None if certificates is None else certificates.next,
                client_certificate=settings.metrics_client_ca is not None,
                admit=await _admission(settings, clock=clock, sink=registry, stack=stack),
            )
            await stack.enter_async_context(http.serving(app, ground.sockets))
            await stack.enter_async_context(statesocket.answering(settings.state_socket, whole))
            _say_listening(ground.sockets[0].getsockname())
            if certificates is not None:
                beside["tls"] = certificates.keep(clock)
            with signals:
                return await supervise(
                    component,
                    name=name,
                    budget=settings.shutdown_budget,
                    clock=clock,
                    roll=roll,
                    beside=beside,
                )
    except BaseExceptionGroup as group:
        return verdict(group)
    except Exception as failure:  # noqa: BLE001  what no task raised: a port that is taken, or a mistake of ours
        return verdict(BaseExceptionGroup("start", [failure]))


async def _checked(failures: Iterable[CannotStart], asking: Awaitable[Iterable[CannotStart]]) -> int:
    """Tell all that is missing here and at the API server; the answer is the exit code."""
    found = [*failures, *await asking]
    for failure in found:
        tell(failure)
    return ANSWER_IS_NO if found else DONE


async def ask_once(
    settings: ProcessSettings, needs: Needs, *, name: str, clock: Clock, sink: Sink
) -> tuple[CannotStart, ...]:
    """What is missing at the API server."""
    try:
        reached = await reach(settings, sink=sink)
    except AccessError as error:
        return (no_access(error),)
    client = ApiClient(
        reached, user_agent=f"purelb-{name}/{build_version()[0]}", clock=clock, allow=needs.rows, sink=sink
    )
    async with client:
        return await Preflight(client, needs=needs, clock=clock).once()


async def _admission(
    settings: ProcessSettings, *, clock: Clock, sink: Sink, stack: AsyncExitStack
) -> scrapers.Admit | None:
    """Who may read the metrics; its client is closed with `stack`."""
    if settings.metrics_auth == "none":
        return None
    client = ApiClient(
        await reach(settings, sink=sink),
        user_agent=f"purelb-metrics/{build_version()[0]}",
        clock=clock,
        allow=scrapers.ACCESS,
        sink=sink,
    )
    return scrapers.Scrapers(await stack.enter_async_context(client), clock=clock).admit


def _given(cls: type[Struct], arguments: argparse.Namespace) -> Mapping[str, str | None]:
    return {field.name: getattr(arguments, field.name) for field in struct_fields(cls)}


def build_version() -> tuple[str, str]:
    """Version and revision of this build; the image sets PURELB_REVISION."""
    return importlib.metadata.version("purelb"), os.environ.get("PURELB_REVISION", "unknown")


def _say_starting(loaded: Loaded[S]) -> None:
    changed = {
        field.name: getattr(loaded.settings, field.name)
        for field in struct_fields(type(loaded.settings))
        if getattr(loaded.settings, field.name) != field.default
    }
    version, revision = build_version()
    log.info(
        "starting",
        extra={
            "code": "starting",
            "version": version,
            "revision": revision,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "settings": changed,
        },
    )


def _say_listening(name: tuple[Any, ...]) -> None:
    shown = f"[{name[0]}]" if ":" in name[0] else name[0]
    log.info("listening on %s:%d", shown, name[1], extra={"code": "listening", "address": f"{shown}:{name[1]}"})

# SPDX-License-Identifier: Apache-2.0
"""From the command line to a running component and back: settings, log, listener, signals, exit codes.

The order of a start: settings, log, handlers of faults and signals, self-checks, listener, component. What the ends of tasks
mean is in `supervision`, what signals mean in `signals`.

An API server that is down never ends a process: a crash loop would add minutes of back-off to the outage.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib.metadata
import logging
import os
import platform
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, Never, TypeVar

from msgspec import Struct
from msgspec.structs import fields as struct_fields

from purelb.kube import metrics as kube_metrics
from purelb.kube.clock import Clock, SystemClock
from purelb.kube.metrics import Metric, Sink
from purelb.process import dryrun, http, logs
from purelb.process import metrics as process_metrics
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.process.component import PHASES, CannotStart, Component
from purelb.process.lag import Lag, sample
from purelb.process.metrics import Registry, process_samples
from purelb.process.settings import Duration, Loaded, Problem, Setting, add_flags, as_yaml, load
from purelb.process.signals import Signals
from purelb.process.supervision import supervise, tell, verdict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from purelb.process.dryrun import Plan, Rehearsal

log = logging.getLogger(__name__)

LAG_JUDGED_S: Final = 30.0
GC_AFTER_ALLOCATIONS: Final = 10_000


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """What every component's process can be told."""

    namespace: Annotated[str, Setting(help="install namespace")] = ""
    kubeconfig: Annotated[str, Setting(help="kubeconfig to use; default: in-cluster", env="KUBECONFIG")] = ""
    context: Annotated[str, Setting(help="context of the kubeconfig")] = ""
    host: Annotated[str, Setting(help="address of the metrics and health listener; default: all")] = ""
    port: Annotated[int, Setting(help="port of the metrics and health listener", low=0, high=65535)] = 7472
    log_level: Annotated[Literal["info", "debug"], Setting(help="what is logged")] = "info"
    log_format: Annotated[Literal["json", "text"], Setting(help="form of the log; text is for a terminal")] = "json"
    shutdown_budget: Annotated[Duration, Setting(help="longest graceful shutdown", low=0.1, high=3600)] = Duration(10.0)
    metrics_per_service: Annotated[bool, Setting(help="expose series of single Services and addresses")] = True
    max_loop_lag: Annotated[Duration, Setting(help="loop lag at which /healthz fails", low=0.1)] = Duration(5.0)
    max_owner_turn: Annotated[
        Duration, Setting(help="length of one turn of the owner at which /healthz fails", low=0.1)
    ] = Duration(60.0)


S = TypeVar("S", bound=ProcessSettings)


class Edges(Struct, frozen=True):
    """What a process hands to the component it builds."""

    clock: Clock
    sink: Sink


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
        rehearsal: Callable[[S, Edges, Plan], AbstractAsyncContextManager[Rehearsal]] | None = None,
        rules: Callable[[S], Sequence[Problem]] = lambda _: (),
        self_checks: Callable[[S], Sequence[CannotStart]] = lambda _: (),
    ) -> None:
        self.name = name
        self.help = help
        self._settings = settings
        self._build = build
        self._rehearsal = rehearsal
        self._metrics = (*process_metrics.METRICS, *kube_metrics.METRICS, *metrics)
        self._rules = rules
        self._self_checks = self_checks

    def configure(self, parser: argparse.ArgumentParser) -> None:
        add_flags(parser, self._settings)
        parser.add_argument("--print-config", action="store_true", help="print the settings in force and their sources")
        parser.add_argument("--check", action="store_true", help="run the self-checks only")
        if self._rehearsal is not None:
            parser.add_argument(
                "--dry-run",
                nargs="?",
                const="on",
                choices=("on", "once"),
                help="change nothing and print what would be changed; once: print it when all is known, exit 1 if it is something",
            )

    def run(self, arguments: argparse.Namespace) -> int:
        flags = {field.name: getattr(arguments, field.name) for field in struct_fields(self._settings)}
        loaded = load(
            self._settings,
            flags=flags,
            unknown=arguments.unknown,
            environment=os.environ,
            config=Path(arguments.config) if arguments.config else None,
            rules=self._rules,
        )
        if not isinstance(loaded, Loaded):
            print("\n".join(map(str, loaded)), file=sys.stderr)
            return BAD_USAGE
        if arguments.print_config:
            print(as_yaml(loaded), end="")
            return DONE
        faulthandler.enable()
        dry: Literal["on", "once"] | None = getattr(arguments, "dry_run", None)
        clock = SystemClock()
        registry = Registry(self._metrics, per_object=loaded.settings.metrics_per_service)
        lines = logs.configure(
            component=self.name,
            level=loaded.settings.log_level,
            form=loaded.settings.log_format,
            clock=clock,
            sink=registry,
            stream=sys.stderr if dry is not None else None,
        )
        if dry is not None and self._rehearsal is not None:
            if loaded.settings.log_level == "info":
                lines.addFilter(dryrun.quiet)
            prepare = partial(self._rehearsal, loaded.settings, Edges(clock, registry))
            return asyncio.run(dryrun.rehearse(prepare, name=self.name, how=dry, clock=clock))
        failures = self._self_checks(loaded.settings)
        for failure in failures:
            tell(failure)
        if arguments.check:
            return ANSWER_IS_NO if failures else DONE
        if failures:
            return CANNOT_WORK_HERE
        _say_starting(loaded)
        component = self._build(loaded.settings, Edges(clock, registry))
        # What is imported lives for ever, and most of what comes later is trees that hold no cycles: look for cycles
        # among little, and seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_AFTER_ALLOCATIONS, 20, 20)
        return asyncio.run(
            serve(
                component,
                name=self.name,
                settings=loaded.settings,
                clock=clock,
                registry=registry,
                summaries=lines.sum_up,
            )
        )


async def serve(
    component: Component,
    *,
    name: str,
    settings: ProcessSettings,
    clock: Clock,
    registry: Registry,
    summaries: Callable[[], Coroutine[Any, Any, Never]],
) -> int:
    """Run `component` with its listener until it is told to stop; the answer is the exit code. `summaries` runs beside it."""
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
        return {"loop": f"the event loop was {worst:.1f} s late" if late else None, **component.health()}

    def state() -> Mapping[str, object]:
        said = {"checks": component.checks(), "health": health()}
        answers = {name: {check: text or "ok" for check, text in found.items()} for name, found in said.items()}
        return {"phase": component.phase(), **answers}

    registry.samples = samples
    signals = Signals(level=settings.log_level, state=state, clock=clock)
    app = http.application(metrics=registry.text, health=health, ready=component.checks, clock=clock)
    try:
        sockets = http.listen(settings.host, settings.port)
        async with http.serving(app, sockets):
            _say_listening(sockets[0].getsockname())
            with signals:
                return await supervise(
                    component,
                    name=name,
                    budget=settings.shutdown_budget,
                    clock=clock,
                    asked=signals.asked,
                    beside={"lag": sample(lag, clock), "log": summaries(), "debug": signals.calm()},
                )
    except CannotStart as failure:
        tell(failure)
        return CANNOT_WORK_HERE
    except BaseExceptionGroup as group:
        return verdict(group)


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

# SPDX-License-Identifier: Apache-2.0
"""From the command line to a running component and back: settings, log, listener, signals, exit codes.

All tasks live in one supervised group. A task that ends unasked, with or without an exception, ends the process with exit
code 5: there is no silent background failure. SIGTERM, SIGINT and SIGQUIT ask the component to stop within its budget; a
second one ends the process at once with 128 + signal. SIGUSR1 writes the state as one log line, SIGUSR2 toggles debug for
15 minutes, SIGHUP is ignored. All of this works as PID 1.

An API server that is down never ends a process: a crash loop would add minutes of back-off to the outage.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import platform
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import fields as struct_fields

from purelb.kube import metrics as kube_metrics
from purelb.kube.clock import Clock, SystemClock
from purelb.kube.errors import AccessError
from purelb.kube.metrics import Metric, Sink
from purelb.process import http, logs
from purelb.process import metrics as process_metrics
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE, INTERNAL_ERROR
from purelb.process.component import PHASES, CannotStart, Component
from purelb.process.lag import Lag, sample
from purelb.process.metrics import Registry, process_samples
from purelb.process.settings import Duration, Loaded, Problem, Setting, add_flags, as_yaml, load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

DEBUG_FOR_S: Final = 900.0
LAG_JUDGED_S: Final = 30.0
DUMP_TASKS_MAX: Final = 512
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
        rules: Callable[[S], Sequence[Problem]] = lambda _: (),
        self_checks: Callable[[S], Sequence[CannotStart]] = lambda _: (),
    ) -> None:
        self.name = name
        self.help = help
        self._settings = settings
        self._build = build
        self._metrics = (*process_metrics.METRICS, *kube_metrics.METRICS, *metrics)
        self._rules = rules
        self._self_checks = self_checks

    def configure(self, parser: argparse.ArgumentParser) -> None:
        add_flags(parser, self._settings)
        parser.add_argument("--print-config", action="store_true", help="print the settings in force and their sources")
        parser.add_argument("--check", action="store_true", help="run the self-checks only")

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
        clock = SystemClock()
        registry = Registry(self._metrics, per_object=loaded.settings.metrics_per_service)
        lines = logs.configure(
            component=self.name,
            level=loaded.settings.log_level,
            form=loaded.settings.log_format,
            clock=clock,
            sink=registry,
        )
        failures = self._self_checks(loaded.settings)
        for failure in failures:
            _tell(failure)
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
    summaries: Callable[[], Coroutine[Any, Any, None]],
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

    registry.samples = samples
    signals = Signals(component, level=settings.log_level, health=health)
    app = http.application(metrics=registry.text, health=health, ready=component.checks, clock=clock)
    try:
        sockets = http.listen(settings.host, settings.port)
        async with http.serving(app, sockets):
            _say_listening(sockets[0].getsockname())
            with signals:
                beside = {"lag": sample(lag, clock), "log": summaries()}
                return await _supervise(component, name=name, settings=settings, signals=signals, beside=beside)
    except CannotStart as failure:
        _tell(failure)
        return CANNOT_WORK_HERE
    except BaseExceptionGroup as group:
        return _verdict(group)


async def _supervise(
    component: Component,
    *,
    name: str,
    settings: ProcessSettings,
    signals: Signals,
    beside: Mapping[str, Coroutine[Any, Any, None]],
) -> int:
    async with asyncio.TaskGroup() as tasks:
        helpers = [tasks.create_task(work, name=f"{name}:{what}") for what, work in beside.items()]
        worker = tasks.create_task(component.run(), name=f"{name}:component")
        stopping = signals.asked
        both: set[asyncio.Future[Any]] = {worker, stopping}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            component.stop()
            budget = settings.shutdown_budget
            _, left = await asyncio.wait({worker}, timeout=budget)
            if left:
                log.info(
                    "the shutdown budget of %s s is spent: ending now in phase %s",
                    budget,
                    component.phase(),
                    extra={"code": "shutdownStepCut", "phase": component.phase(), "tasks": _tasks()},
                )
                worker.cancel()
        for helper in helpers:
            helper.cancel()
    if not stopping.done():
        log.info("the component ended without being asked", extra={"code": "taskEnded", "error": "run() returned"})
        return INTERNAL_ERROR
    log.info("stopped", extra={"code": "stopped"})
    return DONE


class Signals:
    """The signals of a process, as a context manager around its work."""

    def __init__(
        self,
        component: Component,
        *,
        level: Literal["info", "debug"],
        health: Callable[[], Mapping[str, str | None]],
    ) -> None:
        self._component = component
        self._health = health
        self._level: Literal["info", "debug"] = level
        self._back: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.asked: asyncio.Future[signal.Signals] = self._loop.create_future()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(number, self._stop, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self._dump)
        self._loop.add_signal_handler(signal.SIGUSR2, self._toggle)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def __exit__(self, *_: object) -> None:
        if self._back is not None:
            self._back.cancel()

    def _stop(self, number: signal.Signals) -> None:
        if self.asked.done():
            log.info("second %s: ending now", number.name, extra={"code": "stoppedAtOnce", "signal": number.name})
            os._exit(128 + number)
        log.info("%s: stopping", number.name, extra={"code": "stopping", "signal": number.name})
        self.asked.set_result(number)

    def _dump(self) -> None:
        checks = {name: text or "ok" for name, text in self._component.checks().items()}
        health = {name: text or "ok" for name, text in self._health().items()}
        fields = {"phase": self._component.phase(), "checks": checks, "health": health, "tasks": _tasks()}
        log.info("state", extra={"code": "stateDump", **fields})

    def _toggle(self) -> None:
        if self._back is not None:
            self._back.cancel()
            self._back = None
            logs.set_level(self._level)
            return
        logs.set_level("info" if self._level == "debug" else "debug")
        self._back = self._loop.call_later(DEBUG_FOR_S, self._toggle)


def build_version() -> tuple[str, str]:
    """Version and revision of this build; the image sets PURELB_REVISION."""
    return importlib.metadata.version("purelb"), os.environ.get("PURELB_REVISION", "unknown")


def _tasks() -> list[str]:
    shown: list[str] = []
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name())[:DUMP_TASKS_MAX]:
        stack = task.get_stack(limit=1)
        where = f"{Path(stack[-1].f_code.co_filename).name}:{stack[-1].f_lineno}" if stack else "?"
        shown.append(f"{task.get_name()} at {where}")
    return shown


def _verdict(group: BaseExceptionGroup[BaseException]) -> int:
    environment, rest = group.split((CannotStart, AccessError))
    if rest is None and environment is not None:
        for failure in _leaves(environment):
            _tell(failure if isinstance(failure, CannotStart) else CannotStart("access", str(failure)))
        return CANNOT_WORK_HERE
    for failure in _leaves(rest or group):
        log.info(
            "a task died: the process ends, the next one rebuilds from the world",
            exc_info=(type(failure), failure, failure.__traceback__),
            extra={"code": "taskDied"},
        )
    return INTERNAL_ERROR


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for failure in group.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure


def _tell(failure: CannotStart) -> None:
    log.info(
        "%s",
        failure.error,
        extra={"code": "selfCheckFailed", "check": failure.check, "error": failure.error, "hint": failure.hint or None},
    )


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

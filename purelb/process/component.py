# SPDX-License-Identifier: Apache-2.0
"""What a component gives to its process, and what the process gives to it.

A component is built from adapters (`build(deps) -> Component`) so that the process, the tests and the simulator run the
same code over different edges. The process knows only this protocol: it starts `run()`, asks for checks and samples from
the immutable view, and says `stop()` once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from purelb.kube.metrics import Sample

Phase = Literal["Starting", "Syncing", "Standby", "Running", "Draining", "Stopped"]
PHASES: Final[tuple[Phase, ...]] = ("Starting", "Syncing", "Standby", "Running", "Draining", "Stopped")

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The environment cannot work; the process ends with exit code 3 after telling check, error and hint."""

    def __init__(self, check: str, error: str, hint: str) -> None:
        super().__init__(f"{check}: {error}")
        self.check = check
        self.error = error
        self.hint = hint


class Component(Protocol):
    async def run(self) -> None:
        """Work until `stop()` has been carried out. Returning unasked, or raising, ends the process with exit code 5."""
        ...

    def stop(self) -> None:
        """Begin the graceful shutdown; `run()` returns when it is done. Called once, from a signal."""
        ...

    def phase(self) -> Phase: ...

    def checks(self) -> Mapping[str, str | None]:
        """Readiness: does it do its job? Name of each check -> None when it passes, else one sentence."""
        ...

    def health(self) -> Mapping[str, str | None]:
        """Liveness: must this process be restarted? Never depends on another machine."""
        ...

    def show(self, *, most: int) -> Mapping[str, object]:
        """What it knows, for who looks for a fault: text, numbers, lists and mappings. No list holds more than `most`."""
        ...

    def samples(self) -> Iterable[Sample]:
        """Gauges, computed from the immutable view at each scrape."""
        ...


class PhaseTracker:
    """The phase of one component; each change is one line of the log."""

    def __init__(self, changed: Callable[[Phase], None] | None = None) -> None:
        self.current: Phase = "Starting"
        self._changed = changed

    def become(self, phase: Phase) -> None:
        """Enter a phase; entering the present one again does nothing. Nothing leads back from `Draining`."""
        if phase == self.current or PHASES.index(self.current) >= PHASES.index("Draining") > PHASES.index(phase):
            return
        before, self.current = self.current, phase
        log.info("the phase is now %s", phase, extra={"code": "phaseChanged", "phase": phase, "before": before})
        if self._changed is not None:
            self._changed(phase)

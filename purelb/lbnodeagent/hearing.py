# SPDX-License-Identifier: Apache-2.0
"""The owner's turns for deaf gaps: notice one before anything else is done, and prove that we hear again.

`notice` is called first in every turn, so that no key, whichever comes first after a pause, is handled with beliefs that ran
out. What ended is taken as lost then and there; whether it comes back is the ordinary verdict's to say once the gap is closed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from purelb.kube.queue import URGENT
from purelb.lbnodeagent import keys, metrics
from purelb.lbnodeagent.deaf import Pulse

if TYPE_CHECKING:
    from purelb.lbnodeagent.deaf import Cause
    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.hosting import Hosting
    from purelb.lbnodeagent.inputs import Inputs
    from purelb.lbnodeagent.leasing import Leasing

log = logging.getLogger(__name__)

ECHO_WITHIN_S: Final = 1.0
"""After this the renewal is made again, and the leases are listed again in case their watch is what is deaf."""


class Hearing:
    """`pulse` is beaten by a task of its own."""

    def __init__(self, core: Deciding, *, inputs: Inputs, hosting: Hosting, leasing: Leasing) -> None:
        self.pulse = Pulse(core.clock.now())
        self._core = core
        self._inputs = inputs
        self._hosting = hosting
        self._leasing = leasing
        self._renewed_at: float | None = None
        self._asked_at = float("-inf")

    def notice(self, now: float) -> None:
        """Whether we were deaf until this turn, and what ended meanwhile."""
        state = self._core.state
        pause = self.pulse.pause(now)
        late = self._hosting.sweep_missed(now)
        if not pause and not late:
            return
        ended = self._hosting.ended(now)
        held = any((vip := state.vips.get(address.ip)) is not None and vip.renewed for address in ended)
        if pause:
            self._tell("lag", seconds=round(pause, 1))
        elif held:
            self._tell("lifetime")
        if held or pause >= state.duration / 2:  # with the wait before it the lease may have run out
            self._open(now)
        self._hosting.let_go(ended, now)
        if late:
            self._hosting.restart_sweeps(now)
            self._core.queue.add(keys.Sweep(), priority=URGENT)

    def lifetime_ended(self, now: float) -> None:
        """The kernel dropped what we hold, at its end: nobody renewed it, whyever."""
        if not self._core.state.deaf.open:
            self._tell("lifetime")
        self._open(now)

    def renewed(self) -> None:
        """Called after each answer about our lease: a renewal may be the first for as long as peers wait for one."""
        state, last_ok = self._core.state, self._leasing.last_ok
        if last_ok is None or last_ok == self._renewed_at:
            return
        before, self._renewed_at = self._renewed_at, last_ok
        if before is not None and last_ok - before >= state.duration:
            self._tell("lease", seconds=round(last_ok - before, 1))
            state.deaf.begin(last_ok, services=False)

    async def prove(self, now: float) -> None:
        """Go on with the proof."""
        state = self._core.state
        if not state.deaf.open:
            return
        match state.deaf.echoed(state.membership.echoed_sent_at):
            case "proved":
                await self._close(now)
            case "list":
                number = state.deaf.number
                self._inputs.services.relist(
                    "deaf gap", consistent=True, reply=lambda: self._core.queue.add(keys.Listed(number))
                )
            case "wait":
                self._wait(now)

    def _wait(self, now: float) -> None:
        """While renewals fail they are tried again by themselves. One that succeeded has to come back soon."""
        renewed_at = self._leasing.last_ok
        deaf = self._core.state.deaf
        if not deaf.waits_for_echo or renewed_at is None or renewed_at < deaf.since:
            return
        if now >= max(renewed_at, self._asked_at) + ECHO_WITHIN_S:
            self._inputs.leases.relist("no echo", consistent=True)
            self._ask(now)
        self._core.queue.add_after(keys.Deaf(), ECHO_WITHIN_S)

    async def listed(self, gap: int, now: float) -> None:
        """The Services were listed again, and each that differs has had its turn."""
        if self._core.state.deaf.open and self._core.state.deaf.number == gap:
            await self._close(now)

    async def _close(self, now: float) -> None:
        core, state = self._core, self._core.state
        state.deaf.close()
        log.info("heard our own lease again: deciding as usual", extra={"code": "deafGapOver"})
        state.membership.pass_time(now)
        state.look_around(now)
        await core.judge_all(now)
        await core.apply()
        core.report_soon()

    def _open(self, now: float) -> None:
        self._core.state.deaf.begin(now, services=True)
        self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._leasing.renew_now()

    def _tell(self, cause: Cause, *, seconds: float | None = None) -> None:
        self._core.sink.count(metrics.DEAF_GAPS, cause)
        why = {
            "lag": "this process did not run",
            "lease": "our lease was not renewed",
            "lifetime": "a lifetime of ours ended without us",
        }[cause]
        fields = {"code": "deafGap", "cause": cause, "seconds": seconds}
        log.info("%s%s", why, f" for {seconds} s" if seconds is not None else "", extra=fields)

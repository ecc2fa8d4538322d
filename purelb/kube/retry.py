# SPDX-License-Identifier: Apache-2.0
"""How long to wait before a call is made again: one table, and a loop for those who may simply wait.

The table knows errors, not calls. Whether a call may be repeated at all (a create with a generated name may not) is known
to the caller alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from purelb.kube.errors import ApiError, KubeError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from purelb.kube.clock import Clock

R = TypeVar("R")

BASE: Final = 0.25
CAP: Final = 8.0
ATTEMPTS_MAX: Final = 10


# What a second attempt cannot mend: a certificate, a redirect that we do not follow, an answer above the limit.
_FINAL_KINDS: Final = frozenset({"tls", "redirect", "too_large"})


def retry_delay(error: KubeError, attempt: int, rng: Callable[[], float]) -> float | None:
    """Seconds to wait after failure number `attempt` (the first is 0), None to give up. `rng` is uniform in [0, 1)."""
    if attempt >= ATTEMPTS_MAX:
        return None
    named = 0.0
    match error:
        case ApiError(code=code, retry_after=retry_after) if code == 429 or code >= 500:
            named = retry_after or 0.0
        case TransportError(kind=kind) if kind not in _FINAL_KINDS:
            pass
        case _:
            return None
    draw = rng()
    # A server that names no time, or 0 seconds, is not meant to get all attempts in one breath.
    return max(named * (1.0 + 0.25 * draw), min(CAP, BASE * 2.0**attempt) * (0.5 + draw))


async def with_retries(call: Callable[[], Awaitable[R]], *, deadline: float, clock: Clock) -> R:
    """Make `call` until it succeeds, the table gives up or the next attempt would start after `deadline`.

    Raises the last error. For command-line tools: a component gives its writes to a writer instead.
    """
    attempt = 0
    while True:
        try:
            return await call()
        except KubeError as error:
            delay = retry_delay(error, attempt, clock.random)
            if delay is None or clock.now() + delay > deadline:
                raise
        await clock.until(clock.now() + delay)
        attempt += 1

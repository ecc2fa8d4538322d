# SPDX-License-Identifier: Apache-2.0
"""How long a key that failed waits before its next turn. Pure: `now` is an argument, and a limiter delays but never refuses."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Limiter(Protocol[K_contra]):
    """Counts the failures of each key and answers the delay after the latest."""

    def delay(self, key: K_contra, now: float) -> float:
        """Count one more failure of `key`; the seconds it has to wait."""
        ...

    def forget(self, key: K_contra) -> None:
        """`key` succeeded: its next failure is the first."""
        ...

    def failures(self, key: K_contra) -> int:
        """Failures since the last `forget`."""
        ...


class Exponential(Generic[K]):
    """`base`, 2 x `base`, 4 x `base`, ... up to `cap`, for each key by itself."""

    def __init__(self, *, base: float = 0.005, cap: float = 300.0) -> None:
        if not 0 < base <= cap < math.inf:
            raise ValueError(f"a delay from {base} s to {cap} s is none: both must be positive and in this order")
        self._base = base
        self._cap = cap
        self._steps_max = math.ceil(math.log2(cap / base))  # beyond it every delay is the cap, whatever the exponent
        self._failures: dict[K, int] = {}

    def delay(self, key: K, now: float) -> float:  # noqa: ARG002  the protocol's; this one keeps no time
        failed = self._failures.get(key, 0)
        self._failures[key] = failed + 1
        return min(self._cap, math.ldexp(self._base, min(failed, self._steps_max)))

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)


class Bucket(Generic[K]):
    """`burst` turns at once, then `rate` a second, for all keys together, each call reserving the next free turn."""

    def __init__(self, *, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a bucket of {burst} filled with {rate} a second never gives a turn")
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at: float | None = None

    def delay(self, key: K, now: float) -> float:  # noqa: ARG002  one bucket for all keys
        if self._at is not None:
            self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)

    def forget(self, key: K) -> None:
        pass  # what was reserved stays reserved

    def failures(self, key: K) -> int:  # noqa: ARG002  it counts turns, not failures
        return 0


class MaxOf(Generic[K]):
    """The longest delay of several limiters."""

    def __init__(self, *limiters: Limiter[K]) -> None:
        self._limiters = limiters

    def delay(self, key: K, now: float) -> float:
        return max((limiter.delay(key, now) for limiter in self._limiters), default=0.0)

    def forget(self, key: K) -> None:
        for limiter in self._limiters:
            limiter.forget(key)

    def failures(self, key: K) -> int:
        return max((limiter.failures(key) for limiter in self._limiters), default=0)

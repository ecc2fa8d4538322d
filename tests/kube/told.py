# SPDX-License-Identifier: Apache-2.0
"""A sink of metrics that remembers what it was told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from purelb.kube.metrics import Metric


class Told:
    """`counts` and `observed`, by the metric's name and its labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.observed: dict[tuple[str, ...], list[float]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        self.counts[(metric.name, *labels)] += by  # type: ignore[assignment]

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self.observed.setdefault((metric.name, *labels), []).append(value)

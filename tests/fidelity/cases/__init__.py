# SPDX-License-Identifier: Apache-2.0
"""All cases, by the module that holds them. A new module is named here, and so is its file of transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fidelity.cases import (
    customs,
    definitions,
    discovery,
    kinds,
    kubectl_lines,
    lists,
    patches,
    removals,
    services,
    shipped,
    watches,
    writes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fidelity.steps import Case

CASES: Mapping[str, tuple[Case, ...]] = {
    "customs": customs.CASES,
    "definitions": definitions.CASES,
    "discovery": discovery.CASES,
    "kinds": kinds.CASES,
    "kubectl": kubectl_lines.CASES,
    "lists": lists.CASES,
    "patches": patches.CASES,
    "removals": removals.CASES,
    "services": services.CASES,
    "shipped": shipped.CASES,
    "watches": watches.CASES,
    "writes": writes.CASES,
}

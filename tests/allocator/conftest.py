# SPDX-License-Identifier: Apache-2.0
"""One cluster for each test that runs the component: the embedded API server, installed, with the groups that the module names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from tests.allocator.cluster import Cluster
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    """The ServiceGroups that are there from the start. A module that wants some has a fixture of this name."""
    return ()


@pytest.fixture
async def cluster(groups: tuple[dict[str, Any], ...]) -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.admin:
        await made.prepare()
        for body in groups:
            await made.create(SERVICE_GROUPS, body, INSTALL)
        yield made

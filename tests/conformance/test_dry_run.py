# SPDX-License-Identifier: Apache-2.0
"""A dry run of both components against the real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hack.api import inside
from tests.whole.rehearsed import story

if TYPE_CHECKING:
    from hack.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(180)


async def test_both_components_say_what_they_would_do_and_the_server_stays_as_it_was(
    control_plane: ControlPlane,
) -> None:
    with inside(control_plane.netns):
        await story(str(control_plane.kubeconfig))

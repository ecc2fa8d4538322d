# SPDX-License-Identifier: Apache-2.0
"""The two servers, one of each for the whole session, and the rooms in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from hack import binaries
from tests.fidelity import targets
from tests.fidelity.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Iterator


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where the tools have to be there."""
    if os.environ.get("CI") == "true" or os.environ.get("PURELB_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(f"SKIPPED: {reason}")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[targets.Target]:
    with targets.embedded(tmp_path_factory.mktemp("embedded")) as target:
        yield target


@pytest.fixture(scope="session")
def embedded_rooms(embedded: targets.Target) -> Iterator[Rooms]:
    rooms = Rooms(embedded)
    yield rooms
    rooms.close()


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[targets.Target]:
    if not os.environ.get(targets.KUBECONFIG) and (why := binaries.missing()):
        unavailable(why)
    with targets.real(tmp_path_factory.mktemp("real")) as target:
        yield target


@pytest.fixture(scope="session")
def real_rooms(real: targets.Target) -> Iterator[Rooms]:
    rooms = Rooms(real)
    yield rooms
    rooms.close()

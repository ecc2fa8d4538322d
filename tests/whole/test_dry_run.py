# SPDX-License-Identifier: Apache-2.0
"""`--dry-run=once` of both components, as processes, over the sockets of the embedded API server."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki
from tests.whole.rehearsed import story

pytestmark = pytest.mark.timeout(120)  # three processes one after the other


async def test_both_components_say_what_they_would_do_and_the_server_stays_as_it_was(tmp_path: Path) -> None:
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    async with serve(core, pki=Pki(tmp_path)) as server:
        await story(server.admin_kubeconfig())

# SPDX-License-Identifier: Apache-2.0
"""`in_namespaces(body)`: run `body` as the first process of fresh namespaces and answer what it returned.

A fork, not a thread: entering namespaces cannot be undone, and the pytest process must stay where it is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.rig.namespaces import in_fresh_namespaces
from tests.sandbox.cluster.whole import lacking

if TYPE_CHECKING:
    from collections.abc import Callable


class _Inside(AssertionError):
    """What failed in there, as text."""


def _in_namespaces(body: Callable[[], Any]) -> Any:
    reader, writer = os.pipe()
    sys.stdout.flush()
    outer = os.fork()
    if outer == 0:
        os.close(reader)

        def first() -> int:
            try:
                answer = {"returned": body()}
            except BaseException:  # noqa: BLE001  reported to the test that asked
                answer = {"failed": traceback.format_exc()}
            os.write(writer, json.dumps(answer).encode())
            return 0

        inner = in_fresh_namespaces(first, hostname="test-rig")
        os.close(writer)
        os.waitpid(inner, 0)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = json.loads(pipe.read() or b'{"failed": "it died without a word"}')
    os.waitpid(outer, 0)
    if "failed" in answer:
        raise _Inside(answer["failed"])
    return answer["returned"]


@pytest.fixture
def in_namespaces() -> Callable[[Callable[[], Any]], Any]:
    return _in_namespaces


@pytest.fixture
def nft() -> None:
    """The test needs nftables."""
    if shutil.which("nft") is None:
        lacking("needs nft (Debian: nftables)")

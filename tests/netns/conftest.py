# SPDX-License-Identifier: Apache-2.0
"""A network namespace of its own for each test, and a veth pair in it: `lan0` is ours, `wire0` is what the link sees.

The test process itself enters a namespace without a name, so nothing can be left behind and nothing of the machine is
touched; it goes back when the test ends.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str) -> str:
    """Run a command in the namespace of the test; its output."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def namespace() -> Iterator[None]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    if _libc.unshare(_CLONE_NEWNET) != 0:
        os.close(home)
        why = f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    try:
        run("ip", "link", "set", "lo", "up")
        yield
    finally:
        assert _libc.setns(home, _CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture
def lan(namespace: None) -> str:
    run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "wire0")
    run("ip", "link", "set", "lan0", "address", "02:00:00:00:00:0a", "up")
    run("ip", "link", "set", "wire0", "address", "02:00:00:00:00:0b", "up")
    run("ip", "address", "add", "192.0.2.5/24", "dev", "lan0")
    run("ip", "route", "add", "default", "via", "192.0.2.1", "dev", "lan0")
    return "lan0"

# SPDX-License-Identifier: Apache-2.0
"""What every test may need, and what a marker demands of the machine.

A test whose marker needs something that is missing here is skipped with what to install; where CI is `true` or
PURELB_REQUIRE_TOOLS is 1 it fails instead, so that a suite which should run cannot be skipped in silence.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


@cache
def _no_namespaces() -> str | None:
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "needs ip and unshare (Debian: iproute2, util-linux)"
    tried = subprocess.run(["unshare", "-Urn", "true"] if os.geteuid() else ["unshare", "-n", "true"], check=False)
    return (
        None if tried.returncode == 0 else "needs root or user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    )


@cache
def _no_kubectl() -> str | None:
    return None if shutil.which("kubectl") else "needs kubectl on PATH"


@cache
def _no_promtool() -> str | None:
    return None if shutil.which("promtool") else "needs promtool on PATH (Debian: prometheus)"


MISSING = {"netns": _no_namespaces, "kubectl": _no_kubectl, "promtool": _no_promtool}


def pytest_collection_finish() -> None:
    """What seven thousand collected tests are made of is not looked at again by each collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, missing in MISSING.items():
        if item.get_closest_marker(marker) is not None and (why := missing()) is not None:
            if os.environ.get("CI") == "true" or os.environ.get("PURELB_REQUIRE_TOOLS") == "1":
                pytest.fail(why, pytrace=False)
            pytest.skip(why)

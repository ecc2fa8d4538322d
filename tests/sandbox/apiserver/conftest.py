# SPDX-License-Identifier: Apache-2.0
"""Fixtures of this room: a fresh server per test."""

import pytest

from tests.sandbox.apiserver.driver import Api


@pytest.fixture
def api() -> Api:
    return Api()

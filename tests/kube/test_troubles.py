# SPDX-License-Identifier: Apache-2.0
"""What people are told, and what is forgotten again."""

from __future__ import annotations

import logging

import pytest

from purelb.kube.decode import Poison
from purelb.kube.listwatch import Notice
from purelb.kube.metrics import NO_SINK
from purelb.kube.troubles import Troubles
from tests.virtual_clock import VirtualClock

BAD = Poison(key="d/a", uid="u", rv="5", error="x")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_an_unreadable_object_is_named_once_for_each_version(said: pytest.LogCaptureFixture) -> None:
    troubles = Troubles("services", clock=VirtualClock(), sink=NO_SINK)
    for bad in (BAD, BAD, Poison(key="d/a", uid="u", rv="6", error="x"), Poison(key="d/b", uid="u", rv="6", error="x")):
        troubles.spoiled(bad)
    assert [record.__dict__["key"] for record in said.records] == ["d/a", "d/a", "d/b"]


def test_words_of_others_are_cut_after_a_thousand_characters(said: pytest.LogCaptureFixture) -> None:
    troubles = Troubles("services", clock=VirtualClock(), sink=NO_SINK)
    troubles.notice(Notice("info", "listFailed", {"error": "x" * 3000}))
    troubles.spoiled(Poison(key="k" * 3000, error="y" * 3000))
    assert [len(record.__dict__["error"]) for record in said.records] == [1000, 1000]
    assert len(said.records[1].__dict__["key"]) == 1000


@pytest.mark.parametrize("how", ["mended", "gone from a list"])
def test_what_is_no_longer_unreadable_is_forgotten(said: pytest.LogCaptureFixture, how: str) -> None:
    troubles = Troubles("services", clock=VirtualClock(), sink=NO_SINK)
    troubles.spoiled(BAD)
    if how == "mended":
        troubles.mended("d/a")
    else:
        troubles.only(())
    troubles.spoiled(BAD)
    assert len(said.records) == 2

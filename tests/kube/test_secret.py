# SPDX-License-Identifier: Apache-2.0
"""A secret in every way in which a text is shown."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from purelb.kube.credentials import Credential, bearer
from purelb.kube.secret import Secret, redacted

TEXT = "s3ntinel"


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(str, id="str"),
        pytest.param(repr, id="repr"),
        pytest.param(lambda secret: f"{secret} {secret!r} {secret!s} {secret:>20}", id="formatted"),
        pytest.param(lambda secret: "%s %r" % (secret, secret), id="logged"),  # noqa: UP031  as logging does it
        pytest.param(
            lambda secret: repr(Credential(secret)) + repr([secret]) + repr({"a": secret}), id="inside other values"
        ),
        pytest.param(lambda secret: msgspec.json.encode({"a": secret}, enc_hook=redacted).decode(), id="msgspec"),
        pytest.param(lambda secret: json.dumps([secret], default=redacted), id="json"),
        pytest.param(
            lambda secret: repr(vars(secret) if hasattr(secret, "__dict__") else dir(secret)), id="its attributes"
        ),
    ],
)
def test_it_is_not_shown(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(TEXT))
    assert TEXT not in shown
    assert "[redacted]" in shown or "reveal" in shown


def joined(secret: Any) -> str:
    return "".join([secret, "x"])  # noqa: FLY002  that is the point


@pytest.mark.parametrize(
    "leak",
    [msgspec.json.encode, json.dumps, pickle.dumps, copy.copy, joined],
    ids=["msgspec", "json", "pickle", "copy", "join"],
)
def test_what_does_not_know_it_raises(leak: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        leak(Secret(TEXT))


def test_two_are_equal_when_their_texts_are() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT)}) == 1
    assert not Secret("")
    assert Secret("\udc80") != Secret("a")


def test_a_token_travels_as_a_bearer() -> None:
    assert bearer(TEXT).reveal() == f"Bearer {TEXT}"

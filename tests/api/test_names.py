# SPDX-License-Identifier: Apache-2.0
"""Names as Kubernetes takes them."""

from __future__ import annotations

import pytest

from purelb.api.names import is_label_value, is_namespace, is_qualified, is_slip, is_subdomain


@pytest.mark.parametrize("text", ["a", "purelb-system", "0", "a" * 63])
def test_this_may_be_a_namespace(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize("text", ["", "Bad_NS", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_this_is_no_namespace(text: str) -> None:
    assert not is_namespace(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("n1", True),
        ("node-1.rack.example", True),
        ("a" * 253, True),
        ("", False),
        ("N1", False),
        ("a..b", False),
        ("a/b", False),
    ],
)
def test_a_node_has_the_name_of_a_subdomain(text: str, fits: bool) -> None:
    assert is_subdomain(text) == fits


@pytest.mark.parametrize(
    "text", ["tier", "purelb.io/purelbv2", "app.kubernetes.io/Name_1.x", f"{'a' * 63}.io/{'b' * 63}"]
)
def test_this_may_be_the_key_of_a_label_or_a_class(text: str) -> None:
    assert is_qualified(text)


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "not/a/class/x", "bad key!!", "UPPER.io/x", f"{'a' * 254}/x", "b" * 64]
)
def test_this_is_neither_the_key_of_a_label_nor_a_class(text: str) -> None:
    assert not is_qualified(text)


def test_the_value_of_a_label_may_be_empty_and_has_no_blanks() -> None:
    assert is_label_value("")
    assert is_label_value("v1.2_x")
    assert not is_label_value("two words")


@pytest.mark.parametrize(
    ("written", "slip"),
    [
        ("shop", True),
        ("sho", True),
        ("hop", True),
        ("shopp", True),
        ("shhop", True),
        ("shap", True),
        ("sohp", True),
        ("shpo", True),
        ("sh", False),
        ("shoppp", False),
        ("stop", True),
        ("step", False),
        ("opsh", False),
        ("bank", False),
        ("", False),
    ],
)
def test_one_slip_of_the_finger_is_told_from_another_name(written: str, slip: bool) -> None:
    assert (is_slip(written, "shop"), is_slip("shop", written)) == (slip, slip)

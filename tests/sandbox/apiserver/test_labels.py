# SPDX-License-Identifier: Apache-2.0
"""Label selectors: what they choose, and what is said about those that are none. The words are those of kube-apiserver."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.sandbox.apiserver.answers import Refusal
from purelb.sandbox.apiserver.labels import parse_labels
from tests.sandbox.apiserver.driver import SERVICES, Api

OBJECTS = {
    "web": {"app": "web", "n": "7"},
    "db": {"app": "db", "n": "-2", "tier": ""},
    "bare": {},
    "odd": {"n": "x", "in": "notin"},
}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("", "web db bare odd"),
        ("app=web", "web"),
        ("app==web", "web"),
        ("app!=web", "db bare odd"),
        ("app in (web,db)", "web db"),
        ("app in(web , db)", "web db"),
        ("app notin (web)", "db bare odd"),
        ("app", "web db"),
        ("!app", "bare odd"),
        ("app,!tier", "web"),
        ("tier=", "db"),
        ("tier in ()", "db"),
        ("tier in (,a)", "db"),
        ("app in (web,)", "web"),
        ("n>6", "web"),
        ("n<7", "db"),
        ("n>7", ""),
        ("in=notin", "odd"),
        ("in in (notin)", "odd"),
        (" app = web ,  n ", "web"),
    ],
)
def test_a_selector_chooses(selector: str, chosen: str) -> None:
    found = parse_labels(selector)
    assert [name for name, labels in OBJECTS.items() if found.matches(labels)] == chosen.split()


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a is b", "unable to parse requirement: found 'is', expected: in, notin, =, ==, !=, gt, lt"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"),
        ("A/b=1", 'unable to parse requirement: <nil>: Invalid value: "A/b": prefix part a lowercase RFC 1123 subdomain'),
        ("a=-x", 'unable to parse requirement: values[0][a]: Invalid value: "-x": a valid label'),
    ],
)  # fmt: skip
def test_of_a_selector_that_is_none_is_said(selector: str, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_labels(selector)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")
    assert refused.value.message.startswith(said)


@given(st.text(alphabet="ab=!(), inot<>-/.", max_size=20))
def test_a_list_with_any_selector_is_answered(text: str) -> None:
    found = Api().get(SERVICES, labelSelector=text)
    assert found.code in {200, 400}

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from purelb.sandbox.apiserver.faults import Answer, CutStream, Delay, DropEvent, Hang, Rule
from purelb.sandbox.cluster.fault_words import EFFECTS, NotARule, describe, from_json, from_words

RULES = [
    ("hang", Rule(effect=Hang())),
    (
        "answer code=429 retry_after=2 verb=create count=1",
        Rule(effect=Answer(code=429, retry_after=2), verb="create", count=1),
    ),
    (
        "delay seconds=1.5 subject=*:lbnodeagent probability=0.5",
        Rule(effect=Delay(seconds=1.5), subject="*:lbnodeagent", probability=0.5),
    ),
    ("cut-stream after_frames=3 clean=true", Rule(effect=CutStream(after_frames=3, clean=True))),
    ("drop-event resource=services", Rule(effect=DropEvent(), resource="services")),
]


@pytest.mark.parametrize(("words", "rule"), RULES, ids=[words for words, _ in RULES])
def test_a_rule_is_read_from_words_and_from_json_and_written_back(words: str, rule: Rule) -> None:
    assert from_words(words.split()) == rule
    assert from_json(msgspec.json.encode(rule)) == rule
    assert from_words(describe(rule).split(" ")) == rule


def test_every_effect_of_the_api_server_has_a_word() -> None:
    assert {kind.__name__ for kind in EFFECTS.values()} >= {"Answer", "Refuse", "Older", "Garble", "NoBookmarks"}
    assert len(EFFECTS) == 15


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "answer, delay, hang"),
        ("answr code=500", "no fault 'answr'"),
        ("answer", "answer needs code=VALUE, a whole number: an answer that goes wrong has 400 to 599"),
        ("answer code=abc", 'code "abc" is not a whole number: an answer that goes wrong has 400 to 599'),
        ("delay seconds=soon", 'seconds "soon" is not a number: more than 0, at most 3600'),
        ("hang count=1.5", 'count "1.5" is not a whole number: 1 or more; left out, it is for ever'),
        ("hang probability=half", 'probability "half" is not a number: more than 0'),
        ("hang seed=x", 'seed "x" is not a whole number$'),
        ("cut-stream clean=perhaps", 'clean "perhaps" is not true or false'),
        ("answer code=200", "400 to 599"),
        ("answer code=500 verbs=get", "no verbs: code, reason"),
        ("answer code=500 code=501", "twice"),
        ("answer 500", "NAME=VALUE"),
        ("hang seconds=3", "hang has no seconds"),
        ("hang probability=0", "more than 0"),
        ("hang count=0", "left out, it is for ever"),
        ("delay seconds=-1", "more than 0"),
        ("delay seconds=nan", "more than 0"),
        ("chunks size_bytes=0", "1 or more"),
        ("older revisions=0", "1 or more"),
        ("silence after_frames=-1", "not less than 0"),
    ],
)
def test_what_would_never_do_what_it_says_is_refused_with_what_is_possible(words: str, says: str) -> None:
    with pytest.raises(NotARule, match=says):
        from_words(words.split())


def test_json_of_the_wrong_kind_is_refused_with_the_kind_it_must_be() -> None:
    with pytest.raises(NotARule, match='code "500" is not a whole number'):
        from_json(b'{"effect": {"type": "Answer", "code": "500"}}')
    with pytest.raises(NotARule, match="verb 3 is not text"):
        from_json(b'{"effect": {"type": "Hang"}, "verb": 3}')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"effect": 3}',
        b'{"effect": {"type": "Explode"}}',
        b'{"effect": {"type": "hang"}}',
        b'{"effect": {"type": "Hang"}, "verbs": "get"}',
        b'{"effect": {"type": "Answer", "code": "500"}}',
        b"\xff",
    ],
)
def test_json_that_is_no_rule_is_refused(text: bytes) -> None:
    with pytest.raises(NotARule):
        from_json(text)

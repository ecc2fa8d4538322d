# SPDX-License-Identifier: Apache-2.0
"""Reading the API server's fault rules as people write them: JSON, or `answer code=429 verb=create count=1`. Pure.

What would match nothing, or do nothing, is refused with what is possible: a rule that is silently no rule makes a test green. So unknown fields are
refused here, although the decoder would skip them. `describe` writes a rule back as words that `from_words` reads.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from purelb.sandbox.apiserver import faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MATCHES: Final = tuple(name for name in faults.Rule.__struct_fields__ if name != "effect")

VALUE_SHOWN_MAX: Final = 80

NOT_NEGATIVE: Final = ("after_frames", "after_bytes", "after_events", "retry_after")
MEANT: Final[Mapping[str, str]] = {
    "code": "an answer that goes wrong has 400 to 599",
    "probability": "more than 0, at most 1",
    "count": "1 or more; left out, it is for ever",
    "seconds": "more than 0, at most 3600",
    "revisions": "1 or more",
    "size_bytes": "1 or more",
    **dict.fromkeys(NOT_NEGATIVE, "not less than 0"),
}
KINDS: Final = ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "text"))


class NotARule(ValueError):
    """Says what is wrong and what is possible."""


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


EFFECTS: Final[Mapping[str, type[msgspec.Struct]]] = {_kebab(kind.__name__): kind for kind in get_args(faults.Effect)}


def from_words(words: Sequence[str]) -> faults.Rule:
    """`answer code=503 verb=get`: the effect, then its fields and what it matches, in any order. Raises NotARule."""
    kind = EFFECTS.get(words[0]) if words else None
    if kind is None:
        raise NotARule((f"no fault {words[0]!r}" if words else "say what goes wrong") + f": {', '.join(EFFECTS)}")
    effect: dict[str, str] = {"type": kind.__name__}
    rule: dict[str, Any] = {"effect": effect}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals:
            raise NotARule(f"{word!r}: write NAME=VALUE")
        place = effect if name in kind.__struct_fields__ else rule
        if name in place:
            raise NotARule(f"{name} is given twice")
        place[name] = value
    return _rule(rule, strict=False)


def from_json(text: bytes) -> faults.Rule:
    """Raises NotARule."""
    try:
        written = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotARule(f"not JSON: {error}") from error
    return _rule(written, strict=True)


def describe(rule: faults.Rule) -> str:
    """The rule in words, without what it leaves at its default."""
    words = [_kebab(type(rule.effect).__name__)]
    for part, names in ((rule.effect, rule.effect.__struct_fields__), (rule, MATCHES)):
        defaults = {field.name: field.default for field in msgspec.structs.fields(part)}
        for name in names:
            value = getattr(part, name)
            if value != defaults[name]:
                words.append(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(words)


def _rule(written: object, *, strict: bool) -> faults.Rule:
    if not isinstance(written, dict) or not isinstance(effect := written.get("effect"), dict):
        raise NotARule('a rule is an object with an effect: {"effect": {"type": "Answer", "code": 503}, "verb": "get"}')
    kind = EFFECTS.get(_kebab(str(effect.get("type"))))
    if kind is None or kind.__name__ != effect["type"]:
        known = ", ".join(one.__name__ for one in EFFECTS.values())
        raise NotARule(f"no effect {effect.get('type')!r}: {known}")
    strange = set(effect) - {"type", *kind.__struct_fields__} | set(written) - {"effect", *MATCHES}
    if strange:
        known = ", ".join((*kind.__struct_fields__, *MATCHES))
        raise NotARule(f"{_kebab(kind.__name__)} has no {', '.join(sorted(strange))}: {known}")
    _judge(kind, effect, strict=strict)
    _judge(faults.Rule, written, strict=strict)
    rule = msgspec.convert(written, faults.Rule, strict=strict)
    if (problem := _problem(rule)) is not None:
        raise NotARule(problem)
    return rule


def _judge(part: type[msgspec.Struct], written: Mapping[str, object], *, strict: bool) -> None:
    """Raises NotARule for what is missing, and for a value that is not of its field's kind."""
    for field in msgspec.structs.fields(part):
        if field.name in written:
            value = written[field.name]
            try:
                msgspec.convert(value, field.type, strict=strict)
            except msgspec.ValidationError as error:
                shown, needed = json.dumps(value)[:VALUE_SHOWN_MAX], _needed(field)
                raise NotARule(f"{field.name} {shown} is not {needed}") from error
        elif field.required:
            raise NotARule(f"{_kebab(part.__name__)} needs {field.name}=VALUE, {_needed(field)}")


def _needed(field: msgspec.structs.FieldInfo) -> str:
    kinds = get_args(field.type) or (field.type,)
    kind = next((words for each, words in KINDS if each in kinds), "what it can be")
    return kind + (f": {MEANT[field.name]}" if field.name in MEANT else "")


def _problem(rule: faults.Rule) -> str | None:
    """What keeps a well-formed rule from ever doing what it says."""
    if not 0 < rule.probability <= 1:
        return f"probability {rule.probability:g}: {MEANT['probability']}"
    if rule.count is not None and rule.count < 1:
        return f"count {rule.count}: {MEANT['count']}"
    match rule.effect:
        case faults.Answer(code=code) if not 400 <= code <= 599:
            return f"code {code}: {MEANT['code']}"
        case faults.Delay(seconds=seconds) if not 0 < seconds <= 3600:
            return f"seconds {seconds:g}: {MEANT['seconds']}"
        case faults.Older(revisions=revisions) if revisions < 1:
            return f"revisions {revisions}: {MEANT['revisions']}"
        case faults.Chunks(size_bytes=size) if size < 1:
            return f"size_bytes {size}: {MEANT['size_bytes']}"
    for name in NOT_NEGATIVE:
        if (value := getattr(rule.effect, name, None)) is not None and value < 0:
            return f"{name} {value}: {MEANT[name]}"
    return None

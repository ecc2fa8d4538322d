# SPDX-License-Identifier: Apache-2.0
"""The `--config` file: what stands in it, as it was written.

YAML's readers turn words into values before anybody knows which setting they are for: to the most common one `12:30` is 750,
`off` is false, `010` is eight and `2024-99-99` an error. So only the structure is read here, each word stays text, and of its
type no more is said than the short list of YAML 1.2 (numbers, true and false, null) knows. What it means is judged by the
setting, as for a flag or a variable.

Nothing nested is looked into, so neither depth nor a list that would grow without end costs anything.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from msgspec import Struct

FILE_MAX_BYTES: Final = 5 * 1024 * 1024

Says = Literal["text", "number", "truth", "nothing", "other"]

_TAG: Final = "tag:yaml.org,2002:"
_SAYS: Final[Mapping[str, Says]] = {
    f"{_TAG}str": "text",
    f"{_TAG}int": "number",
    f"{_TAG}float": "number",
    f"{_TAG}bool": "truth",
    f"{_TAG}null": "nothing",
}
_PLAIN: Final = (  # YAML 1.2.2, section 10.3.2, with its first characters
    (f"{_TAG}null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (f"{_TAG}bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (f"{_TAG}int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (f"{_TAG}float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    (f"{_TAG}float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
)

_UNTRANSLATED: Final = (ValueError, OverflowError)
"""What the reader of YAML lets out for an escape that names no character."""


class Word(Struct, frozen=True):
    """One value, without its quotes. `says`: what it is to YAML; what stood in quotes is text."""

    text: str
    says: Says


class Words(Struct, frozen=True):
    """A list. None of it: something in it is no word."""

    items: tuple[Word, ...] | None


class Nested(Struct, frozen=True):
    """A mapping."""


Written = Word | Words | Nested


class _Reader(yaml.SafeLoader):
    """Knows the types of YAML 1.2 instead of those of 1.1."""


class Writer(yaml.SafeDumper):
    """Puts into quotes what either of the two would take for something else than text."""


_Reader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _PLAIN:
    _Reader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)
    Writer.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def read(path: Path) -> tuple[Mapping[str, Written], tuple[str, ...]]:
    """What stands in the file by its key, and all that is wrong with the file itself, a sentence each."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        return {}, (f"cannot be read: {error.strerror}",)
    if len(data) > FILE_MAX_BYTES:
        return {}, (f"is larger than {FILE_MAX_BYTES} bytes",)
    try:
        root: Any = yaml.compose(data, Loader=_Reader)
    except RecursionError:
        return {}, ("is nested deeper than any settings are",)
    except (yaml.YAMLError, *_UNTRANSLATED) as error:
        return {}, ("is not YAML: " + " ".join(str(error).split()),)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == f"{_TAG}null"):
        return {}, ()
    if not isinstance(root, yaml.MappingNode):
        return {}, ("must be a mapping of settings",)
    keys = Counter(_key(key) for key, _ in root.value)
    twice = tuple(f'"{shown(key)}" stands there twice' for key, times in keys.items() if times > 1)
    return {_key(key): _written(value) for key, value in root.value}, twice


def shown(text: str) -> str:
    """Text from outside, for people: not long, and nothing in it that a terminal obeys."""
    return "".join(char if char.isprintable() else "?" for char in text[:128])


def _key(node: Any) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else "?"


def _written(node: Any) -> Written:
    match node:
        case yaml.ScalarNode():
            return _word(node)
        case yaml.SequenceNode(value=items):
            alone = all(isinstance(item, yaml.ScalarNode) for item in items)
            return Words(tuple(map(_word, items)) if alone else None)
        case _:
            return Nested()


def _word(node: Any) -> Word:
    return Word(node.value, _SAYS.get(node.tag, "other"))

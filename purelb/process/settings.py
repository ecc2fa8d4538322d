# SPDX-License-Identifier: Apache-2.0
"""Settings: one frozen Struct per component is the only definition.

Flag, environment variable, file key, type, default and help of a setting are derived from its field. First match wins:
flag, environment, `--config` file, default; an empty variable counts as unset. Everything that is wrong (unknown flags and
keys, text that does not parse, rules between values) is collected and reported at once, one line each, each naming the
place, the value and what to write instead. A bad value never becomes the default in silence. Rules judge what is readable: one
that meets a value which is not is left out, and so are those after it.

A field is declared as `Annotated[type, Setting(...)]`; the types are those of `_PARSERS` below, a `Literal`, or a tuple of
text (comma-separated). A secret is never a setting; a setting may name the file that holds it.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NewType,
    TypeVar,
    assert_never,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import yaml
from msgspec import Struct

from purelb.kube.durations import duration_text, parse_duration
from purelb.process import configfile
from purelb.process.configfile import Nested, Word, Words, Writer, Written, shown

Duration = NewType("Duration", float)
"""Seconds, written as Go duration text."""


class Setting(Struct, frozen=True, kw_only=True):
    """What a field's annotation says beyond its type. `env`/`flag`: the names, when they differ from the derived ones.

    `alone`: what the flag means without a value; a bool is then true.
    """

    help: str
    env: str | None = None
    flag: str | None = None
    low: float | None = None
    high: float | None = None
    alone: str | None = None


class Problem(Struct, frozen=True):
    """One line of what is wrong with the settings: where, and what to do."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


S = TypeVar("S", bound=Struct)


class Loaded(Struct, Generic[S], frozen=True):
    """Settings in force, and per field where its value came from (`flag`, `environment`, `file` or `default`)."""

    settings: S
    sources: Mapping[str, str]


class Field(Struct, frozen=True):
    """One setting, as derived from its field."""

    name: str
    flag: str
    env: str
    key: str
    kind: Any
    default: Any
    setting: Setting


def fields_of(cls: type[Struct]) -> tuple[Field, ...]:
    """The settings of a Struct, in the order of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    found: list[Field] = []
    for field in msgspec.structs.fields(cls):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{cls.__name__}.{field.name} is not Annotated with a Setting")
        kind, setting = get_args(hint)[:2]
        words = field.name.split("_")
        found.append(
            Field(
                name=field.name,
                flag=setting.flag or "--" + "-".join(words),
                env=setting.env or "PURELB_" + field.name.upper(),
                key=words[0] + "".join(word.capitalize() for word in words[1:]),
                kind=kind,
                default=float(field.default) if kind is Duration else field.default,
                setting=setting,
            )
        )
    return tuple(found)


def add_flags(parser: argparse.ArgumentParser, cls: type[Struct]) -> None:
    """Add a flag per setting. All take text: what it means is judged later, together with the rest."""
    for field in fields_of(cls):
        shown = _text(field.default)
        text = f"{field.setting.help} ({field.env}{f'; {shown}' if shown else ''})".replace("%", "%%")
        alone = "true" if field.kind is bool else field.setting.alone
        if alone is not None:
            parser.add_argument(field.flag, dest=field.name, nargs="?", const=alone, default=None, help=text)
        else:
            parser.add_argument(field.flag, dest=field.name, default=None, help=text, metavar=_metavar(field.kind))


def load(
    cls: type[S],
    *,
    flags: Mapping[str, str | None],
    unknown: Sequence[str] = (),
    environment: Mapping[str, str],
    config: Path | None,
    rules: Sequence[Callable[[S], Iterable[Problem]]] = (),
) -> Loaded[S] | tuple[Problem, ...]:
    """Settings from their three places, or everything that is wrong with them.

    `flags` holds the text of each flag by field name (None: not given), `unknown` what the parser did not know, `rules`
    judge values together: each ends at the first value that alone was wrong already. A problem of a flag is told under the name
    with which its value was given.
    """
    problems = [Problem(argument, "is not a flag of this command; see --help") for argument in unknown]
    fields = fields_of(cls)
    file, unreadable = configfile.read(config) if config is not None else ({}, ())
    strange = [f'"{shown(key)}" is not a setting' for key in file if key not in {field.key for field in fields}]
    problems += [Problem(f"--config {config}", text) for text in (*strange, *unreadable)]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    written: dict[str, str] = {}
    for field in fields:
        place, where, given = _first_of(field, flags, environment, file)
        sources[field.name] = place
        if given is None:
            values[field.name] = field.default
            continue
        written[field.flag] = where
        parsed = given if isinstance(given, _Unfit) else _parse(field, given)
        if isinstance(parsed, _Unfit):
            problems.append(Problem(where, parsed.text))
            continue
        values[field.name] = parsed
    readable: Any = _Readable(values)
    for rule in rules:
        judging = iter(rule(readable))
        try:
            for problem in judging:
                problems.append(Problem(written.get(problem.where, problem.where), problem.text))
        except _UnreadableError:
            continue
    return tuple(problems) or Loaded(cls(**values), sources)


def as_yaml(loaded: Loaded[S]) -> str:
    """The settings in force as a `--config` file, each with where it came from."""
    lines = []
    for field in fields_of(type(loaded.settings)):
        value = getattr(loaded.settings, field.name)
        plain: Any = list(value) if isinstance(value, tuple) else value
        if isinstance(value, Path) or field.kind is Duration:
            plain = _text(value)
        dumped = yaml.dump({field.key: plain}, Dumper=Writer, default_flow_style=True, width=10_000).strip()[1:-1]
        lines.append(f"{dumped}  # {loaded.sources[field.name]}")
    return "\n".join(lines) + "\n"


class _Unfit(Struct, frozen=True):
    text: str


class _UnreadableError(Exception):
    """A rule asked for a value that could not be read."""


class _Readable:
    """The values that could be read, as if they were the settings."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise _UnreadableError(name)
        return self._values[name]


def _first_of(
    field: Field, flags: Mapping[str, str | None], environment: Mapping[str, str], file: Mapping[str, Written]
) -> tuple[str, str, str | _Unfit | None]:
    if (text := flags.get(field.name)) is not None:
        return "flag", field.flag, text
    if text := environment.get(field.env):
        return "environment", field.env, text
    if field.key in file and (given := _unquoted(file[field.key], kind=field.kind)) is not None:
        return "file", field.key, given
    return "default", field.name, None


def _unquoted(written: Written, *, kind: Any) -> str | _Unfit | None:
    """A value of the file as text, as it would stand in a variable; None for nothing. What has another type than `kind` is refused."""
    text_wanted = kind in (str, Path, Path | None, tuple[str, ...])
    match written:
        case Word(says="nothing"):
            return None
        case Word(text, "text"):
            return text
        case Word(text, "truth") if text_wanted:
            return _Unfit(f'"{shown(text)}" is a truth value to YAML; write the text in quotes')
        case Word(text, "number") if text_wanted or kind is bool:
            return _Unfit(f'"{shown(text)}" is a number to YAML; write the text in quotes')
        case Word(text, "number") if re.match(r"[-+]?0[0-9]", text):
            return _Unfit(f'"{shown(text)}" is another number to other readers of YAML; write it without the leading 0')
        case Word(text, "number" | "truth"):
            return text
        case Word(text):
            return _Unfit(f'"{shown(text)}" is of a type that no setting has; write it in quotes')
        case Words(items) if items is None or any(item.says != "text" for item in items):
            return _Unfit("is a list of other things than words")
        case Words(items):
            texts = ",".join(item.text for item in items or ())
            return texts if kind == tuple[str, ...] else _Unfit("is a list, and this setting is one value")
        case Nested():
            return _Unfit("is a mapping, and no setting is one")
        case _:
            assert_never(written)


def _parse_bool(text: str) -> bool | _Unfit:
    match text.lower():
        case "true" | "yes" | "1":
            return True
        case "false" | "no" | "0":
            return False
        case _:
            return _Unfit(f'"{shown(text)}" is neither true nor false')


def _parse_int(text: str) -> int | _Unfit:
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return _Unfit(f'"{shown(text)}" is not a whole number')


def _parse_duration(text: str) -> float | _Unfit:
    seconds = parse_duration(text)
    if seconds is None:
        return _Unfit(f'"{shown(text)}" is not a duration; write for example 10s, 500ms or 1m30s')
    return seconds


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in (item.strip() for item in text.split(",")) if part)


_PARSERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    str: str,
    bool: _parse_bool,
    int: _parse_int,
    Duration: _parse_duration,
    Path: Path,
    Path | None: lambda text: Path(text) if text else None,
    tuple[str, ...]: _parse_list,
}


def _parse(field: Field, text: str) -> Any:
    if get_origin(field.kind) is Literal:
        words = get_args(field.kind)
        return text if text in words else _Unfit(f'"{shown(text)}" is not one of {", ".join(words)}')
    if "\0" in text:
        return _Unfit(f'"{shown(text)}" holds a zero byte')
    if not _is_utf8(text):
        return _Unfit(f'"{shown(text)}" is no UTF-8')
    value = _PARSERS[field.kind](text)
    low, high = field.setting.low, field.setting.high
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        show = duration_text if field.kind is Duration else str
        if low is not None and value < low:
            return _Unfit(f'"{shown(text)}" is below the least allowed, {show(low)}')
        if high is not None and value > high:
            return _Unfit(f'"{shown(text)}" is above the most allowed, {show(high)}')
    return value


def _is_utf8(text: str) -> bool:
    """Bytes of a variable that are no text come as characters that no output takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return {Duration: "DURATION", int: "N", Path: "FILE", Path | None: "FILE"}.get(kind, "TEXT")


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return duration_text(value)
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)

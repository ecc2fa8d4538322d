# SPDX-License-Identifier: Apache-2.0
"""Settings: where a value comes from, and what is said about a wrong one."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from purelb.process.settings import Duration, Loaded, Problem, Setting, add_flags, as_yaml, load


class Example(Struct, frozen=True, kw_only=True):
    node_name: Annotated[str, Setting(help="name of the node")] = ""
    lease_duration: Annotated[Duration, Setting(help="lease", low=3)] = Duration(10.0)
    writers: Annotated[int, Setting(help="concurrent writes", low=1, high=64)] = 8
    leader_elect: Annotated[bool, Setting(help="elect a leader")] = True
    policy: Annotated[Literal["override", "honor"], Setting(help="traffic policy")] = "override"
    lb_class: Annotated[tuple[str, ...], Setting(help="classes")] = ("a", "b")
    announcer: Annotated[str, Setting(help="who takes the rest", env="DEFAULT_ANNOUNCER")] = ""
    certificate: Annotated[Path | None, Setting(help="certificate")] = None


def loaded(
    *,
    flags: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    config: Path | None = None,
    unknown: tuple[str, ...] = (),
) -> Loaded[Example] | tuple[Problem, ...]:
    return load(Example, flags=flags or {}, environment=environment or {}, config=config, unknown=unknown)


def settings(**given: object) -> Example:
    answer = loaded(**given)  # type: ignore[arg-type]
    assert isinstance(answer, Loaded), answer
    return answer.settings


def problems(**given: object) -> list[str]:
    answer = loaded(**given)  # type: ignore[arg-type]
    assert not isinstance(answer, Loaded), answer
    return [str(problem) for problem in answer]


def test_a_setting_nobody_gave_has_its_default() -> None:
    assert settings() == Example()


def test_the_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("writers: 2\nleaseDuration: 20s\nnodeName: n1\n")
    answer = loaded(
        flags={"writers": "4"}, environment={"PURELB_WRITERS": "3", "PURELB_LEASE_DURATION": "30s"}, config=file
    )
    assert isinstance(answer, Loaded)
    assert answer.settings == Example(writers=4, lease_duration=Duration(30.0), node_name="n1")
    assert answer.sources == {
        "writers": "flag",
        "lease_duration": "environment",
        "node_name": "file",
        "leader_elect": "default",
        "policy": "default",
        "lb_class": "default",
        "announcer": "default",
        "certificate": "default",
    }


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings(environment={"PURELB_LEASE_DURATION": ""}).lease_duration == 10.0


def test_a_setting_may_have_a_variable_of_another_name() -> None:
    assert settings(environment={"DEFAULT_ANNOUNCER": "PureLB"}).announcer == "PureLB"


def test_a_list_is_comma_separated_and_its_blanks_do_not_count() -> None:
    assert settings(flags={"lb_class": " x , y,,"}).lb_class == ("x", "y")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param(
            {"PURELB_LEASE_DURATION": "10"},
            'PURELB_LEASE_DURATION: "10" is not a duration; write for example 10s, 500ms or 1m30s',
            id="a bare number is no duration",
        ),
        pytest.param(
            {"PURELB_LEASE_DURATION": "500ms"},
            'PURELB_LEASE_DURATION: "500ms" is below the least allowed, 3s',
            id="a duration below its bound is refused, not raised to it",
        ),
        pytest.param(
            {"PURELB_WRITERS": "many"}, 'PURELB_WRITERS: "many" is not a whole number', id="a word is no number"
        ),
        pytest.param(
            {"PURELB_WRITERS": "65"},
            'PURELB_WRITERS: "65" is above the most allowed, 64',
            id="a number above its bound",
        ),
        pytest.param(
            {"PURELB_LEADER_ELECT": "maybe"},
            'PURELB_LEADER_ELECT: "maybe" is neither true nor false',
            id="maybe is no truth",
        ),
        pytest.param(
            {"PURELB_POLICY": "Honor"},
            'PURELB_POLICY: "Honor" is not one of override, honor',
            id="a word not in the list",
        ),
        pytest.param(
            {"PURELB_POLICY": "a\nb\x1b[1m"},
            'PURELB_POLICY: "a?b?[1m" is not one of override, honor',
            id="control characters are replaced in the message",
        ),
    ],
)
def test_a_wrong_value_names_the_place_the_value_and_what_to_write(environment: dict[str, str], said: str) -> None:
    assert problems(environment=environment) == [said]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("writer: 2\nwriters: x\n")
    assert problems(
        flags={"policy": "no"}, unknown=("--bogus",), environment={"PURELB_LEASE_DURATION": "abc"}, config=file
    ) == [
        "--bogus: is not a flag of this command; see --help",
        f'--config {file}: "writer" is not a setting',
        'PURELB_LEASE_DURATION: "abc" is not a duration; write for example 10s, 500ms or 1m30s',
        'writers: "x" is not a whole number',
        '--policy: "no" is not one of override, honor',
    ]


def at_least_as_many_as_classes(settings: Example) -> Iterator[Problem]:
    if not settings.node_name:
        yield Problem("--node-name", "is needed")
    if settings.writers < len(settings.lb_class):
        yield Problem("--writers", "are fewer than the classes")


def test_rules_between_values_are_told_with_the_rest_and_judge_nothing_that_cannot_be_read() -> None:
    def told(**flags: str) -> list[str]:
        answer = load(
            Example, flags=flags, environment={}, config=None, unknown=("--x",), rules=(at_least_as_many_as_classes,)
        )
        assert not isinstance(answer, Loaded)
        return [problem.where for problem in answer]

    assert told(writers="1") == ["--x", "--node-name", "--writers"]
    assert told(writers="one") == ["--x", "--writers", "--node-name"]
    assert told(node_name="n", writers="3") == ["--x"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("leaseDuration: 10", 'leaseDuration: "10" is not a duration', id="a bare number"),
        pytest.param("leaseDuration: 10.5", 'leaseDuration: "10.5" is not a duration', id="a bare fraction"),
        pytest.param("writers: [1]", "writers: is a list of other things than words", id="a list for a number"),
        pytest.param("nodeName: {a: 1}", "nodeName: is a mapping, and no setting is one", id="a mapping"),
        pytest.param("writers: 12:30", 'writers: "12:30" is not a whole number', id="a time, which is 750 to many"),
        pytest.param("writers: 0x10", 'writers: "0x10" is not a whole number', id="a number of another base"),
        pytest.param("writers: 010", 'writers: "010" is another number to other readers', id="eight, or ten"),
        pytest.param("writers: 1_0", 'writers: "1_0" is not a whole number', id="a number in groups"),
        pytest.param("writers: 4.0", 'writers: "4.0" is not a whole number', id="a fraction for a whole number"),
        pytest.param("writers: yes", 'writers: "yes" is not a whole number', id="yes for a number"),
        pytest.param("writers: true", 'writers: "true" is not a whole number', id="a truth value for a number"),
        pytest.param("writers: 2024-99-99", 'writers: "2024-99-99" is not a whole', id="a day that no calendar has"),
        pytest.param("writers: !!int abc", 'writers: "abc" is not a whole number', id="a number that is none"),
        pytest.param(f"writers: {'9' * 5000}", f'writers: "{"9" * 128}" is not', id="a number without end"),
        pytest.param("leaderElect: on", 'leaderElect: "on" is neither true nor false', id="on"),
        pytest.param("leaderElect: !!bool abc", 'leaderElect: "abc" is neither', id="a truth value that is none"),
        pytest.param("policy: true", 'policy: "true" is not one of override, honor', id="a truth value for a word"),
        pytest.param("nodeName: !!timestamp abc", 'nodeName: "abc" is of a type', id="a time that is none"),
        pytest.param("nodeName: !odd abc", 'nodeName: "abc" is of a type', id="a tag of somebody's own"),
        pytest.param("lbClass: [a, 5]", "lbClass: is a list of other things than words", id="a number in a list"),
        pytest.param('nodeName: "\\uD800"', 'nodeName: "?" is no UTF-8', id="half a character"),
        pytest.param("nodeName: true", 'nodeName: "true" is a truth value to YAML', id="a truth value for text"),
        pytest.param("certificate: 5", 'certificate: "5" is a number to YAML', id="a number for a path"),
        pytest.param("leaderElect: 1", 'leaderElect: "1" is a number to YAML', id="a number for a truth value"),
        pytest.param("nodeName: [a, b]", "nodeName: is a list, and this setting is one value", id="a list for text"),
        pytest.param('nodeName: "a\\0b"', 'nodeName: "a?b" holds a zero byte', id="a zero byte"),
        pytest.param(
            "nodeName: &a [x, x]\nannouncer: &b [*a, *a, *a]\nlbClass: [*b, *b]",
            "announcer: is a list of other things than words",
            id="a list that would grow without end",
        ),
    ],
)
def test_a_value_of_the_file_has_the_type_of_its_setting(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    assert any(line.startswith(said) for line in problems(config=file)), problems(config=file)


@pytest.mark.parametrize("text", ["yes", "off", "12:30", "1_000", "0b11", "2020-01-01", "=", "1.2.3.4", "Null!"])
def test_what_only_old_readers_of_yaml_take_for_something_else_is_text_where_text_is_wanted(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"nodeName: {text}\ncertificate: {text}\nlbClass: [{text}, {text}]\n")
    assert settings(config=file) == Example(node_name=text, certificate=Path(text), lb_class=(text, text))


def test_a_word_of_a_closed_list_may_look_like_a_truth_value(tmp_path: Path) -> None:
    class Pages(Struct, frozen=True, kw_only=True):
        status_page: Annotated[Literal["off", "loopback"], Setting(help="page")] = "loopback"

    file = tmp_path / "config.yaml"
    file.write_text("statusPage: off\n")
    answer = load(Pages, flags={}, environment={}, config=file)
    assert isinstance(answer, Loaded), answer
    assert answer.settings == Pages(status_page="off")


@pytest.mark.parametrize(
    "file", ["true", "True", "TRUE", "yes", '"true"'], ids=["true", "True", "TRUE", "yes", "in quotes"]
)
def test_a_truth_value_may_be_written_in_each_way_that_a_variable_may(tmp_path: Path, file: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"leaderElect: {file}\n")
    assert settings(config=path).leader_elect is True


@example(text="1e3", items=["no"])
@example(text="12:30", items=[])
@example(text="0o14\u2028", items=["~"])
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.lists(st.sampled_from(["no", "~", "1e3", "0o7", "a: b", "#", "-"])),
)
def test_whatever_the_text_of_a_setting_is_it_is_printed_so_that_it_reads_back_as_itself(
    tmp_path_factory: pytest.TempPathFactory, text: str, items: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "printed.yaml"
    answer = loaded(flags={"node_name": text, "lb_class": ",".join(items)})
    assert isinstance(answer, Loaded)
    path.write_text(as_yaml(answer))
    assert settings(config=path) == answer.settings


def test_nothing_in_the_file_is_the_default_and_the_printed_settings_can_be_read_back(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("nodeName:\ncertificate: ~\nlbClass: [x, y]\n")
    answer = loaded(config=file, flags={"certificate": ""})
    assert isinstance(answer, Loaded)
    assert answer.settings == Example(lb_class=("x", "y"))
    file.write_text(as_yaml(answer))
    assert settings(config=file) == answer.settings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("- a\n", "must be a mapping of settings", id="a list"),
        pytest.param("a: [", "is not YAML", id="not YAML"),
        pytest.param('nodeName: "\\UFFFFFFFF"', "is not YAML", id="a character that there is not"),
        pytest.param("a: 1\n---\nb: 1\n", "is not YAML: expected a single document", id="two documents"),
        pytest.param("? [a]\n: 1\n", '"?" is not a setting', id="a key that is no word"),
        pytest.param("<<: {writers: 2}\n", '"<<" is not a setting', id="a merge"),
        pytest.param("[" * 100_000, "is nested deeper than any settings are", id="very deep"),
        pytest.param("writers: 2\nwriters: 3\n", '"writers" stands there twice', id="a key that stands there twice"),
        pytest.param(None, "cannot be read: No such file or directory", id="absent"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    (line,) = problems(config=file)
    assert line.startswith(f"--config {file}: {said}")


def test_the_flag_of_a_truth_value_may_stand_alone_and_others_may_not() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Example)
    given = parser.parse_args(["--leader-elect", "--writers", "3"])
    assert (given.leader_elect, given.writers, given.policy) == ("true", "3", None)
    with pytest.raises(argparse.ArgumentError, match="expected one argument"):
        parser.parse_args(["--writers"])


def test_rules_judge_values_together() -> None:
    def rule(settings: Example) -> list[Problem]:
        return [Problem("--writers", "must be even")] if settings.writers % 2 else []

    answer = load(Example, flags={"writers": "3"}, environment={}, config=None, rules=(rule,))
    assert answer == (Problem("--writers", "must be even"),)


def test_the_printed_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    answer = loaded(flags={"writers": "4", "lease_duration": "1m30s", "leader_elect": "false"})
    assert isinstance(answer, Loaded)
    text = as_yaml(answer)
    assert "leaseDuration: 1m30s  # flag" in text
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert settings(config=file) == answer.settings


def test_a_default_that_is_a_whole_number_of_seconds_is_shown_as_a_duration(tmp_path: Path) -> None:
    class Leading(Struct, frozen=True, kw_only=True):
        renew: Annotated[Duration, Setting(help="how long")] = Duration(15)

    answer = load(Leading, flags={}, environment={}, config=None)
    assert isinstance(answer, Loaded)
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(answer))
    again = load(Leading, flags={}, environment={}, config=file)
    assert isinstance(again, Loaded), again
    assert again.settings == answer.settings
    parser = argparse.ArgumentParser()
    add_flags(parser, Leading)
    assert "PURELB_RENEW; 15s" in parser.format_help()

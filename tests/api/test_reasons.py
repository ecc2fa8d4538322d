# SPDX-License-Identifier: Apache-2.0
"""Reasons and Events as data: complete, valid as the API has them, and consistent with each other."""

import re
import string

import pytest

from purelb.api import events, reasons
from purelb.api.events import EVENTS, event_rule
from purelb.api.reasons import TABLES, Reason

# metav1.Condition
CONDITION_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
CONDITION_TYPES = {reasons.ALLOCATED, reasons.ANNOUNCED, reasons.READY}

ROWS = [pytest.param(row, id=f"{table}: {row.name}") for table, rows in TABLES.items() for row in rows.values()]


def constants(module: object) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_every_reason_constant_stands_in_a_table() -> None:
    told = {name for rows in TABLES.values() for name in rows}
    assert constants(reasons) - CONDITION_TYPES == told | {reasons.PUBLISH_REFUSED}


@pytest.mark.parametrize(
    ("table", "count"),
    [(reasons.ALLOCATED, 28), (reasons.ANNOUNCED, 11), ("ServiceGroup Ready", 11), ("LBNodeAgent Ready", 6)],
)
def test_a_table_has_as_many_rows_as_the_api_document(table: str, count: int) -> None:
    assert len(TABLES[table]) == count


@pytest.mark.parametrize("row", ROWS)
def test_a_reason_is_one_that_a_condition_may_have(row: Reason) -> None:
    assert CONDITION_REASON.fullmatch(row.name)
    assert len(row.name) <= 64


@pytest.mark.parametrize("row", ROWS)
def test_a_template_takes_named_values_only(row: Reason) -> None:
    assert row.templates
    for template in row.templates:
        parts = list(string.Formatter().parse(template))
        values = {name: "x" for _, name, _, _ in parts if name is not None}
        assert all(name.isidentifier() for name in values)
        assert "{" not in template.format(**values)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.values[0].status])  # type: ignore[union-attr]
def test_bad_news_says_what_changes_it(row: Reason) -> None:
    # Waiting for an IPAM ends by itself.
    assert row.remedy or row.name == reasons.IPAM_PENDING


def test_the_remedy_of_a_reason_that_is_not_ours_is_empty() -> None:
    assert reasons.remedy(reasons.ALLOCATED, "Whatever") == ""
    assert reasons.remedy("Other", reasons.IN_USE) == ""
    assert reasons.remedy(reasons.ALLOCATED, reasons.IN_USE)


def test_agents_withhold_for_reasons_of_the_announced_table_only() -> None:
    assert all(not reasons.ANNOUNCED_REASONS[name].status for name in reasons.WITHHELD_REASONS)


def test_every_refusal_of_an_allocation_but_waiting_is_an_event() -> None:
    for row in reasons.ALLOCATED_REASONS.values():
        rule = event_rule("Service", row.name)
        if row.name == reasons.IPAM_PENDING:
            assert rule is None
        else:
            assert rule is not None
            assert rule.action == "Allocate"
            assert rule.type == ("Normal" if row.name == reasons.ADDRESS_ASSIGNED else "Warning")


def test_bad_news_about_announcing_must_last_before_it_is_an_event() -> None:
    for row in reasons.ANNOUNCED_REASONS.values():
        rule = event_rule("Service", row.name)
        if row.name in {reasons.NOT_ALLOCATED, reasons.AWAITING_NODE}:
            assert rule is None
        else:
            assert rule is not None
            assert rule.action == "Announce"
            assert (rule.type, rule.lasting) == (
                ("Normal", 0.0) if row.status and row.name != reasons.ANNOUNCED_TWICE else ("Warning", 15.0)
            )


def test_every_state_of_a_group_is_an_event_of_its_tone() -> None:
    for row in reasons.GROUP_REASONS.values():
        rule = event_rule("ServiceGroup", row.name)
        assert rule is not None
        assert (rule.type, rule.action) == ("Normal" if row.status else "Warning", "Configure")


def test_every_event_constant_has_a_rule_and_every_rule_is_found_by_its_kind() -> None:
    told = {reason for _, reason in EVENTS}
    assert constants(events) - {events.ALLOCATOR, events.LBNODEAGENT} <= told
    assert all(event_rule(kind, reason) is rule for (kind, reason), rule in EVENTS.items())
    assert all(CONDITION_REASON.fullmatch(reason) for _, reason in EVENTS)

# SPDX-License-Identifier: Apache-2.0
"""Each case is a sequence of requests that is written once: the real server answers it, the embedded one must answer the same.

The first test writes transcripts, from the real server (marker `conformance`); the second compares the embedded server with
those that are committed. In CI a transcript that would change fails: the real server has changed, or the case asks about what
is not the same twice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import MISSING
from tests.fidelity import transcripts
from tests.fidelity.cases import CASES
from tests.fidelity.conftest import unavailable
from tests.fidelity.steps import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fidelity.rooms import Rooms
    from tests.fidelity.steps import Case
    from tests.fidelity.targets import Target


def waits(case: Case) -> Iterator[float]:
    return (step.seconds for step in case.steps if isinstance(step, Wait))


EACH_CASE = pytest.mark.parametrize(
    ("module", "case"),
    [
        pytest.param(module, case, id=f"{module}: {case.name}", marks=pytest.mark.timeout(180 + sum(waits(case))))
        for module, cases in CASES.items()
        for case in cases
    ],
)


def check_needs(case: Case, target: Target) -> None:
    if "kubectl" in case.needs and (why := MISSING["kubectl"]()) is not None:
        unavailable(why)
    if "compact" in case.needs and not target.can_compact:
        pytest.skip("compacts etcd, which a cluster that is not ours does not let us")


@pytest.mark.conformance
@EACH_CASE
def test_the_real_server_says(module: str, case: Case, real: Target, real_rooms: Rooms) -> None:
    check_needs(case, real)
    records = real_rooms.run(case)
    before = transcripts.read(real.version, module).get(case.name)
    if before is not None and records != before and os.environ.get("CI") == "true":
        changes = ["the case has other steps than its transcript"]
        if len(before) == len(records):
            changes = transcripts.judge(before, records, {}, sides=("committed", "now"))
        pytest.fail("\n".join(["the transcript would change", *changes]), pytrace=False)
    transcripts.write(real.version, module, case.name, records, order=[one.name for one in CASES[module]])


@EACH_CASE
def test_the_embedded_server_says_the_same(module: str, case: Case, embedded: Target, embedded_rooms: Rooms) -> None:
    check_needs(case, embedded)
    expected = transcripts.read(transcripts.MINOR, module).get(case.name)
    assert expected is not None, "no real server has answered this yet: run make conformance and commit the transcript"
    found = embedded_rooms.run(case)
    assert len(found) == len(expected), "the case has changed since a real server answered it: run make conformance"
    test = f"{module}: {case.name}"
    complaints = transcripts.judge(expected, found, transcripts.listed().get(test, {}))
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def test_every_listed_difference_belongs_to_a_case() -> None:
    known = {f"{module}: {case.name}" for module, cases in CASES.items() for case in cases}
    assert set(transcripts.listed()) <= known


def test_every_committed_transcript_belongs_to_a_case() -> None:
    for module, cases in CASES.items():
        assert set(transcripts.read(transcripts.MINOR, module)) == {case.name for case in cases}
    files = {path.stem for path in transcripts.path_of(transcripts.MINOR, "any").parent.glob("*.json")}
    assert files == set(CASES)

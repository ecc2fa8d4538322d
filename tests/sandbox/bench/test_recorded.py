# SPDX-License-Identifier: Apache-2.0
"""The objects that the runtime is measured with have the sizes that its budgets are stated for, and are read without loss."""

import msgspec
import pytest

from purelb.kube.decode import Codec, Event, Poison
from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import recorded
from purelb.sandbox.bench.memory import RESOURCES


@pytest.mark.parametrize(("shape", "size"), [("service", 1800), ("slice", 1800), ("node", 24_000)])
def test_an_object_has_the_size_that_its_budget_is_stated_for(shape: recorded.Shape, size: int) -> None:
    each = len(recorded.listed(shape, 100)) / 100
    assert size * 0.95 < each < size * 1.1


@pytest.mark.parametrize("shape", ["service", "slice", "node"])
def test_each_object_of_a_list_is_read_and_none_is_like_another(shape: recorded.Shape) -> None:
    codec = Codec(RESOURCES[shape])
    raws, rv, more = codec.envelope(recorded.listed(shape, 50))
    objects = [codec.item(raw) for raw in raws]
    assert (rv, more) == ("900000", None)
    assert not any(isinstance(each, Poison) for each in objects)
    assert len({msgspec.json.encode(each) for each in objects}) == 50


def test_events_are_whole_lines_with_versions_of_their_own() -> None:
    lines = recorded.events(20, distinct=10)
    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in lines)
    found = [Codec(SERVICES).event(line) for line in lines]
    versions = [each.object.metadata.resource_version for each in found if isinstance(each, Event)]
    assert versions == [str(900_001 + number) for number in (*range(10), *range(10))]

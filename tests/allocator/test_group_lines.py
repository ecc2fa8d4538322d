# SPDX-License-Identifier: Apache-2.0
"""The log of ServiceGroups: one line for each that comes, is edited or goes, with what became of it, and none for anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NAMESPACES
from tests.allocator.cluster import pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    import pytest

    from tests.allocator.cluster import Cluster


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The lines about groups since the last look."""
    fields = [record.__dict__ for record in caplog.records]
    caplog.clear()
    return [
        (line["code"], f"{line['namespace']}/{line['group']} {line.get('reason', '')}".rstrip())
        for line in fields
        if line.get("code") in {"groupRead", "groupGone"}
    ]


async def test_a_group_that_comes_is_edited_or_goes_is_one_line_each_and_nothing_else_is(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve("a")
        await cluster.clock.advance(2.0)
        assert told(caplog) == [("groupRead", f"{INSTALL}/default Accepted")]
        larger = pool(text="192.0.2.10-192.0.2.30")["spec"]
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": larger}, INSTALL)
        await cluster.clock.advance(2.0)
        assert told(caplog) == [("groupRead", f"{INSTALL}/default Accepted")], "also where it stays Accepted"
        await cluster.patch(SERVICE_GROUPS, "default", {"metadata": {"labels": {"a": "b"}}}, INSTALL)
        await cluster.serve("b")
        await cluster.create(NAMESPACES, {"metadata": {"name": "attic"}})
        await cluster.clock.advance(2.0)
        assert told(caplog) == []
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.clock.advance(2.0)
        assert told(caplog) == [("groupGone", f"{INSTALL}/default")]

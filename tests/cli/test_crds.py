# SPDX-License-Identifier: Apache-2.0
"""`purelb crds` against the embedded API server: printing, comparing, applying."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from purelb.api.crds import all_definitions
from purelb.cli import crds
from purelb.cli.main import main
from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import CRDS
from purelb.kube.wire import PatchType
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport

NAMES = tuple(all_definitions())


@pytest.fixture
async def client() -> AsyncIterator[ApiClient]:
    clock = SystemClock()
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    access = fixed_access("http://sandbox.invalid")
    async with ApiClient(access, user_agent="test", clock=clock, transport=MemoryTransport(core, clock=clock)) as made:
        yield made


def test_what_is_printed_is_every_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    assert [document["metadata"]["name"] for document in yaml.safe_load_all(capsys.readouterr().out)] == list(NAMES)


def test_files_are_written_where_they_were_asked_for(tmp_path: Path) -> None:
    assert main(["crds", "--out", str(tmp_path / "new")]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == dict(crds.files())


def test_a_cluster_that_cannot_be_reached_is_said_and_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "kubeconfig")
    assert main(["crds", "--diff", "--kubeconfig", missing]) == 3
    assert missing in capsys.readouterr().err


def test_comparing_and_applying_at_once_is_bad_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["crds", "--diff", "--apply"])
    assert ended.value.code == 2


async def test_an_empty_cluster_differs_in_every_definition(
    client: ApiClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await crds.diff(client) == len(NAMES)
    assert capsys.readouterr().out.splitlines() == [f"{name}: not in the cluster" for name in NAMES]


async def test_what_was_applied_is_established_and_does_not_differ_and_can_be_applied_again(
    client: ApiClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await crds.apply(client, clock=client.clock) == ()
    assert await crds.diff(client) == 0
    before = {name: (await client.get(CRDS, name)).metadata.generation for name in NAMES}
    assert await crds.apply(client, clock=client.clock) == ()
    assert {name: (await client.get(CRDS, name)).metadata.generation for name in NAMES} == before
    out = capsys.readouterr().out.splitlines()
    assert out == [f"{name}: created" for name in NAMES] + [f"{name}: configured" for name in NAMES]


async def test_an_older_definition_differs_until_it_is_applied_over(
    client: ApiClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await crds.apply(client, clock=client.clock)
    name = "lbnodestatuses.purelb.io"
    names = {"spec": {"names": {"shortNames": ["old"]}}}
    await client.patch(CRDS, name, names, kind=PatchType.MERGE)
    capsys.readouterr()
    assert await crds.diff(client) == 1
    assert capsys.readouterr().out == f'{name}: spec.names.shortNames[0]: "old" in the cluster, "lbns" here\n'
    await crds.apply(client, clock=client.clock)
    assert await crds.diff(client) == 0

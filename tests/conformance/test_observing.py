# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of the processes themselves, on the real control plane: scrapes, states, and no secret in any of it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
import yaml

from hack.processes import wait_until
from tests.conformance.installation import NAMESPACE
from tests.conformance.test_stories import create
from tests.promtool import complaints, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(120)


def kind_of(name: str) -> str:
    return "allocator" if name == "allocator" else "lbnodeagent"


@pytest.mark.promtool
def test_promtool_complains_about_inherited_names_and_nothing_else(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web", annotations={"purelb.io/node-affinity": "service-endpoints"})
    installed.wait_one_holder(installed.wait_addresses(namespace, "web")[0])
    for name in installed.components:
        if name != "allocator":  # only who needs EndpointSlices counts them

            def counted(name: str = name) -> object:
                return "purelb_endpointslice_count{" in installed.metrics(name)

            wait_until("slices are counted", counted, within_s=30)
        assert complaints(installed.metrics(name)) == frozen().get(kind_of(name), set()), name


def secrets(installed: Installation) -> set[str]:
    """Tokens and private keys of every kubeconfig that this run made, and the parts of which a leak would show."""
    found: set[str] = set()
    for path in installed.cluster.directory.glob("kubeconfigs/*.yaml"):
        for user in yaml.safe_load(path.read_text()).get("users") or ():
            given = user["user"]
            found |= {given[name] for name in ("token", "client-key-data") if name in given}
    for path in installed.cluster.directory.rglob("*.key"):
        found |= {line for line in path.read_text().splitlines() if len(line) > 40}
    tokens = {text.rpartition(".")[2] for text in found if text.count(".") == 2}  # the signature of a token
    return found | {text for text in tokens if len(text) > 40}


def said(installed: Installation) -> Iterator[tuple[str, str]]:
    """Everything that PureLB has put out in this session, by where it stands."""
    for name, process in installed.components.items():
        yield f"log of {name}", process.log.read_text()
        yield f"metrics of {name}", installed.metrics(name)
    for path in (
        "/apis/events.k8s.io/v1/events",
        "/api/v1/services",
        f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
        "/apis/purelb.io/v2/lbnodestatuses",
        "/apis/purelb.io/v2/servicegroups",
        "/apis/purelb.io/v2/lbnodeagents",
    ):
        yield path, json.dumps(installed.api.get(path).ok())


def test_no_secret_of_the_run_stands_in_anything_that_was_put_out(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web")
    installed.wait_one_holder(installed.wait_addresses(namespace, "web")[0])
    create(installed, namespace, "refused", annotations={"purelb.io/service-group": "nowhere"})
    installed.wait_condition(namespace, "refused", "purelb.io/Allocated", "False", "UnknownGroup")
    for process in installed.components.values():
        process.signal(signal.SIGUSR2)  # debug lines too
        process.signal(signal.SIGUSR1)
    create(installed, namespace, "more")
    installed.wait_one_holder(installed.wait_addresses(namespace, "more")[0])

    def dumped() -> object:
        late = [each.name for each in installed.components.values() if '"stateDump"' not in each.log.read_text()]
        return late or True

    wait_until("every process wrote its state", dumped, within_s=30)
    wait_until(
        "debug lines are there", lambda: '"apiCall"' in installed.components["allocator"].log.read_text(), within_s=15
    )
    for process in installed.components.values():
        process.signal(signal.SIGUSR2)
    known = secrets(installed)
    assert len(known) >= 2 * len(installed.components), "a token and its signature for each process at least"
    everything = dict(said(installed))
    assert all(everything.values())
    leaks = [where for where, text in everything.items() if any(secret in text for secret in known)]
    assert leaks == []

# SPDX-License-Identifier: Apache-2.0
"""One real control plane for the whole session, in a data centre of namespaces where this machine allows it.

Without root the control plane listens on loopback and the stories, which need namespaces, say what they miss.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from hack import binaries
from hack.control_plane import ControlPlane
from hack.processes import wait_until
from tests.conformance import topology as data_centre
from tests.conformance.installation import NAMESPACE, Installation
from tests.conformance.manifests import Applier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hack.api import Api

REPOSITORY = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [number for number, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    for number in ours:
        items[number].add_marker(pytest.mark.conformance)
        if items[number].get_closest_marker("timeout") is None:
            # The limit includes the fixtures, and whoever comes first starts all there is: each start may take a minute.
            items[number].add_marker(pytest.mark.timeout(180))
    # There is one cluster for all. Who asks the API server alone comes before PureLB is installed and answers for it.
    ordered = sorted((items[number] for number in ours), key=lambda item: "installation" in _fixtures(item))
    for number, item in zip(ours, ordered, strict=True):
        items[number] = item


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where the tools have to be there."""
    if os.environ.get("CI") == "true" or os.environ.get("PURELB_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(f"SKIPPED: {reason}")


@pytest.fixture(scope="session")
def topology() -> Iterator[data_centre.Topology]:
    """Node namespaces, a client, and the hub where the control plane lives."""
    if why := data_centre.why_not():
        unavailable(why)
    with data_centre.Topology() as built:
        yield built


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager, for every test of the session."""
    if why := binaries.missing():
        unavailable(why)
    directory = tmp_path_factory.mktemp("control-plane")
    if data_centre.why_not() is None:
        hub = request.getfixturevalue("topology").hub
        started = ControlPlane.start(directory, host=data_centre.API_ADDRESS, netns=hub, audited=[NAMESPACE])
    else:
        started = ControlPlane.start(directory, audited=[NAMESPACE])
    with started as running:
        yield running


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Iterator[Api]:
    """A client that may do everything."""
    api = control_plane.api()
    yield api
    api.close()


@pytest.fixture(scope="session")
def applier(admin: Api) -> Applier:
    return Applier(admin)


@contextlib.contextmanager
def own_namespace(admin: Api) -> Iterator[str]:
    """A namespace for the length of a `with`, deleted with all that is in it."""
    name = f"purelb-conf-{secrets.token_hex(4)}"
    admin.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).ok()
    try:
        yield name
    finally:
        admin.delete(f"/api/v1/namespaces/{name}").ok()


@pytest.fixture
def furnished(admin: Api, namespace: str) -> str:
    """A namespace of one test's own, in which the controllers have put what they put into each: nothing comes by itself any more."""
    there = [f"{kind}/{name}" for kind, name in (("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default"))]

    def probe() -> object:
        found = {each: admin.get(f"/api/v1/namespaces/{namespace}/{each}").status for each in there}
        return set(found.values()) == {200} or found

    wait_until("the controllers have furnished it", probe, within_s=30)
    return namespace


@pytest.fixture
def namespace(admin: Api) -> Iterator[str]:
    """A namespace of one test's own."""
    with own_namespace(admin) as name:
        yield name


@pytest.fixture(scope="session")
def site(
    control_plane: ControlPlane, topology: data_centre.Topology, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Nodes with the real kube-proxy and backends, and nothing of ours yet."""
    built = Installation(control_plane, topology, tmp_path_factory.mktemp("installation"))
    try:
        built.join_nodes()
        yield built
    finally:
        built.close()


@pytest.fixture(scope="session")
def shipped(site: Installation) -> Installation:
    """The CRDs and the default overlay of this repository, applied."""
    if why := missing_manifests():
        unavailable(why)
    site.apply_shipped_manifests()
    return site


@pytest.fixture(scope="session")
def installation(shipped: Installation) -> Installation:
    """PureLB at work: configuration, one allocator, an agent on every node, all ready."""
    shipped.apply_configuration()
    shipped.start_allocator()
    for node in shipped.topology.nodes:
        shipped.start_agent(node)
    shipped.wait_ready(*shipped.components)
    return shipped


@pytest.fixture
def installed(installation: Installation) -> Installation:
    """PureLB at work, whatever the test before did to it or to the API server."""
    installation.wait_at_work()
    return installation


def missing_manifests() -> str | None:
    """Why the shipped manifests cannot be read, or None."""
    if shutil.which("kubectl") is None:
        return "needs kubectl, to build the overlays of deploy/"
    return None

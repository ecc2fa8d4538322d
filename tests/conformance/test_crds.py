# SPDX-License-Identifier: Apache-2.0
"""The committed CRDs at the real server: admission accepts and refuses what the API document says, in its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.conftest import REPOSITORY
from tests.conformance.manifests import Applier, Object, read

if TYPE_CHECKING:
    from hack.api import Api

LOCAL = {"v4pools": [{"pool": "192.0.2.10-192.0.2.20", "subnet": "192.0.2.0/24"}]}


@pytest.fixture(scope="module")
def crds(applier: Applier) -> list[Object]:
    """The CRDs of this repository, applied and served."""
    return applier.apply(read(REPOSITORY / "crds"))


def group(namespace: str, spec: Object, *, version: str = "v2", name: str = "g") -> Object:
    return {
        "apiVersion": f"purelb.io/{version}",
        "kind": "ServiceGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def agent(namespace: str, local: Object, *, version: str = "v2", name: str = "a") -> Object:
    return {**group(namespace, {"local": local}, version=version, name=name), "kind": "LBNodeAgent"}


def pool(text: str, *, slot: str = "v4pools", subnet: str = "192.0.2.0/24", **more: Any) -> Object:
    return {"local": {slot: [{"pool": text, "subnet": subnet, **more}]}}


def netbox(**fields: Any) -> Object:
    return {"netbox": {"url": "https://netbox.example.org", "tenant": "t", **fields}}


def test_three_kinds_are_established_with_the_versions_of_the_document(crds: list[Object]) -> None:
    versions = {
        crd["spec"]["names"]["kind"]: {v["name"]: (v["served"], v["storage"]) for v in crd["spec"]["versions"]}
        for crd in crds
    }
    both = {"v1": (True, False), "v2": (True, True)}
    assert versions == {"ServiceGroup": both, "LBNodeAgent": both, "LBNodeStatus": {"v2": (True, True)}}


def test_applying_the_crds_again_changes_nothing(crds: list[Object], applier: Applier) -> None:
    for before, after in zip(crds, applier.apply(read(REPOSITORY / "crds")), strict=True):
        assert after["spec"] == before["spec"]
        assert after["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"local": LOCAL}, id="one local pool"),
        pytest.param({"remote": LOCAL}, id="one remote pool"),
        pytest.param({"local": {}}, id="a source without pools, for the parser to refuse"),
        pytest.param(pool("192.0.2.10-192.0.2.12, 192.0.2.20,192.0.2.32/30"), id="a list of ranges with blanks"),
        pytest.param(pool("192.0.2.9-192.0.2.1"), id="a reversed range, for the parser to refuse"),
        pytest.param(pool("192.0.2.0/24", exclude=["192.0.2.0/24"]), id="everything excluded"),
        pytest.param(pool("192.0.2.0/24", aggregation="32"), id="aggregation without a slash"),
        pytest.param(pool("192.0.2.0/24", aggregation=""), id="empty aggregation"),
        pytest.param(pool("2001:db8::1/112", slot="v6pools", subnet="2001:db8::/64"), id="an IPv6 range"),
        pytest.param({"local": LOCAL, "namespaces": ["a", "a"], "enforceNamespaces": True}, id="doubled namespaces"),
        pytest.param({"local": {"pool": "192.0.2.0/28", "subnet": "192.0.2.0/24"}}, id="the legacy form"),
        pytest.param(netbox(), id="netbox"),
        pytest.param(netbox(url="http://netbox", plainHTTP=True), id="netbox in plain HTTP, said twice"),
        pytest.param(
            {"external": {"provider": "p", "announce": "local", "aggregation": "/32"}}, id="an external provider"
        ),
    ],
)
def test_a_group_is_accepted(admin: Api, applier: Applier, namespace: str, spec: Object) -> None:
    written = applier.create(group(namespace, spec)).ok()
    assert admin.get(applier.path(written)).ok()["spec"] == written["spec"]


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({}, "give exactly one of local, remote, netbox, external", id="no source"),
        pytest.param(
            {"local": LOCAL, "remote": LOCAL}, "give exactly one of local, remote, netbox, external", id="two sources"
        ),
        pytest.param(
            {"local": LOCAL, "enforceNamespaces": True},
            "enforceNamespaces needs a list of namespaces to enforce",
            id="a fence around nothing",
        ),
        pytest.param(
            {
                "local": LOCAL,
                "enforceNamespaces": True,
                "namespaces": ["a"],
                "namespaceSelector": {"matchLabels": {"a": "b"}},
            },
            "a fence needs literal namespaces: whoever may label a namespace could widen a selector",
            id="a fence with a selector",
        ),
        pytest.param(
            {"local": LOCAL, "namespaceDefault": True},
            "namespaceDefault needs namespaces or a namespaceSelector",
            id="the default of no namespace",
        ),
        pytest.param(
            {"local": LOCAL, "namespaceSelector": {}},
            "an empty selector matches everything; leave it out",
            id="an empty namespace selector",
        ),
        pytest.param(
            {"local": LOCAL, "serviceSelector": {"matchLabels": {}}},
            "an empty selector matches everything; leave it out",
            id="an empty service selector",
        ),
        pytest.param(
            {"local": {**LOCAL, "multiPool": True, "balancePools": True}},
            "multiPool and balancePools exclude each other",
            id="two ways through the pools",
        ),
        pytest.param({"local": {"pool": "192.0.2.0/28"}}, "pool and subnet belong together", id="half the legacy form"),
        pytest.param({"netbox": {"url": "https://netbox"}}, "tenant", id="reserved addresses of no tenant"),
        pytest.param(netbox(parents=["192.0.2.0/24"]), "availableIPs", id="parents without availableIPs"),
        pytest.param(netbox(url="http://netbox"), "plainHTTP", id="plain HTTP by accident"),
        pytest.param(pool("2001:db8::/112"), "spec.local.v4pools[0].pool", id="IPv6 text in an IPv4 slot"),
        pytest.param(
            pool("192.0.2.0/24", slot="v6pools", subnet="2001:db8::/64"),
            "spec.local.v6pools[0].pool",
            id="IPv4 text in an IPv6 slot",
        ),
        pytest.param(pool("192.0.2.0/24", aggregation="/7"), "aggregation", id="an aggregate wider than /8"),
        pytest.param({"local": LOCAL, "priority": 0}, "spec.priority", id="priority 0"),
        pytest.param({"local": LOCAL, "reuseDelay": "soon"}, "spec.reuseDelay", id="a delay that is no duration"),
    ],
)
def test_a_group_is_refused_with_the_words_of_the_document(
    admin: Api, applier: Applier, namespace: str, spec: Object, message: str
) -> None:
    answer = applier.create(group(namespace, spec))
    assert answer.status == 422, answer.body
    assert message in answer.body["message"]
    assert admin.get(f"/apis/purelb.io/v2/namespaces/{namespace}/servicegroups").ok()["items"] == []


@pytest.mark.usefixtures("crds")
def test_plain_http_is_the_default_of_version_1_only(applier: Applier, namespace: str) -> None:
    written = applier.create(group(namespace, netbox(url="http://netbox"), version="v1", name="old")).ok()
    assert written["spec"]["netbox"]["plainHTTP"] is True


@pytest.mark.usefixtures("crds")
def test_a_default_of_the_version_written_through_is_stored_and_read_through_the_other(
    admin: Api, applier: Applier, namespace: str
) -> None:
    path = f"/apis/purelb.io/v2/namespaces/{namespace}/servicegroups"
    applier.create(group(namespace, {"local": LOCAL}, version="v1", name="old")).ok()
    applier.create(group(namespace, {"local": LOCAL}, version="v2", name="new")).ok()
    read_as_v2 = {
        item["metadata"]["name"]: item["spec"]["local"]["offSubnet"] for item in admin.get(path).ok()["items"]
    }
    assert read_as_v2 == {"old": "Dummy", "new": "Withhold"}


@pytest.mark.usefixtures("crds")
def test_an_update_through_either_version_leaves_the_stored_defaults(
    admin: Api, applier: Applier, namespace: str
) -> None:
    applier.create(group(namespace, {"local": LOCAL}, version="v1")).ok()
    for version in ("v2", "v1"):
        path = f"/apis/purelb.io/{version}/namespaces/{namespace}/servicegroups/g"
        patched = admin.patch(path, {"spec": {"drain": version == "v2"}}).ok()
        assert patched["spec"]["local"]["offSubnet"] == "Dummy"


@pytest.mark.usefixtures("crds")
def test_the_status_of_a_group_is_a_subresource_of_its_own(admin: Api, applier: Applier, namespace: str) -> None:
    path = applier.path(applier.create(group(namespace, {"local": LOCAL})).ok())
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"observedGeneration": 1, "conditions": [condition], "allocatedIPv4": 0, "allocatedIPv6": 0}
    ignored = admin.patch(path, {"status": status}).ok()
    assert "status" not in ignored
    patched = admin.patch(f"{path}/status", {"spec": {"drain": True}, "status": status}).ok()
    assert patched["status"] == status
    assert patched["spec"].get("drain") in {None, False}


@pytest.mark.usefixtures("crds")
def test_the_names_of_version_1_are_understood_by_an_agent_object(applier: Applier, namespace: str) -> None:
    old = applier.create(agent(namespace, {"localint": "eth1"}, version="v1", name="old")).ok()
    assert "localInterface" not in old["spec"]["local"], "a default would hide the v1 name"
    same = {"localint": "default", "sendgarp": False, "localInterface": "eth1"}
    applier.create(agent(namespace, same, version="v1", name="default-and-new")).ok()
    contradiction = {"localint": "eth1", "localInterface": "eth2"}
    answer = applier.create(agent(namespace, contradiction, name="both"))
    assert answer.status == 422
    assert "localint is the v1 name of localInterface: remove it or make both equal" in answer.body["message"], (
        answer.body
    )


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize(
    ("local", "field"),
    [
        ({"dummyKind": "vlan"}, "dummyKind"),
        ({"dummyInterface": "a-name-that-is-too-long"}, "dummyInterface"),
        ({"interfaces": ["eth 0"]}, "interfaces"),
        ({"garpConfig": {"count": 0}}, "count"),
        ({"heartbeat": {"port": 80}}, "port"),
        ({"onAPIOutage": "Panic"}, "onAPIOutage"),
        ({"drainOn": ["Rain"]}, "drainOn"),
    ],
    ids=["kind", "name", "list of names", "count", "port", "policy", "list of causes"],
)
def test_an_agent_object_out_of_bounds_is_refused_by_field(
    applier: Applier, namespace: str, local: Object, field: str
) -> None:
    answer = applier.create(agent(namespace, local))
    assert answer.status == 422, answer.body
    assert field in answer.body["message"]


@pytest.mark.usefixtures("crds")
def test_an_unknown_field_is_refused_by_strict_validation(admin: Api, namespace: str) -> None:
    path = f"/apis/purelb.io/v2/namespaces/{namespace}/servicegroups?fieldValidation=Strict"
    answer = admin.post(path, group(namespace, {"local": LOCAL, "poool": "192.0.2.0/24"}))
    assert answer.status == 400
    assert "spec.poool" in answer.body["message"]


@pytest.mark.usefixtures("crds")
def test_the_tables_of_kubectl_have_the_columns_of_the_document(control_plane: Any, namespace: str) -> None:
    wanted = {
        "servicegroups": ["Announce", "IPAM", "Allocated-V4", "Allocated-V6", "Ready"],
        "lbnodeagents": ["Interface", "Dummy", "Nodes", "Ready"],
        "lbnodestatuses": ["State", "Config", "Announced", "Remote", "Withheld"],
    }
    api = control_plane.api(accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    for plural, columns in wanted.items():
        table = api.get(f"/apis/purelb.io/v2/namespaces/{namespace}/{plural}").ok()
        narrow = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
        assert narrow == ["Name", *columns, "Age"]
    api.close()

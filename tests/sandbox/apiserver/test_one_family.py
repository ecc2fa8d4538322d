# SPDX-License-Identifier: Apache-2.0
"""Services of a cluster that has one family. Texts are those of kube-apiserver 1.34 with one `--service-cluster-ip-range`."""

import ipaddress
from typing import Any

import pytest

from tests.sandbox.apiserver.driver import SERVICES, Api, service


def made_in(families: tuple[str, ...], **spec: Any) -> Any:
    made = Api(families=families).post(SERVICES, service(**spec))
    assert made.code == 201, made.body
    return made.body["spec"]


def causes_in(families: tuple[str, ...], **spec: Any) -> list[str]:
    refused = Api(families=families).post(SERVICES, service(**spec))
    assert refused.code == 422, refused.body
    return [f"{cause['field']}: {cause['message']}" for cause in refused.body["details"]["causes"]]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("policy", ["SingleStack", "PreferDualStack", None])
def test_a_service_gets_the_family_there_is(family: str, policy: str | None) -> None:
    spec = made_in((family,), **({} if policy is None else {"ipFamilyPolicy": policy}))
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == ([family], policy or "SingleStack")
    assert [f"IPv{ipaddress.ip_address(one).version}" for one in spec["clusterIPs"]] == [family]


def test_the_first_family_of_a_cluster_is_the_default() -> None:
    assert made_in(("IPv6", "IPv4"))["ipFamilies"] == ["IPv6"]
    assert made_in(("IPv6", "IPv4"), ipFamilyPolicy="RequireDualStack")["ipFamilies"] == ["IPv6", "IPv4"]


def test_what_needs_the_other_family_is_refused() -> None:
    assert causes_in(("IPv6",), ipFamilies=["IPv4"]) == [
        'spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster'
    ]
    assert causes_in(("IPv4",), ipFamilyPolicy="RequireDualStack") == [
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
    ]
    assert causes_in(("IPv4",), clusterIP="fd00:10:96::77") == [
        'spec.clusterIPs[0]: Invalid value: ["fd00:10:96::77"]: IPv6 is not configured on this cluster'
    ]
    headless = {"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}
    assert "not configured" in causes_in(("IPv4",), ipFamilies=["IPv6"], **headless)[0]


def test_endpoints_of_somebody_else_may_have_both_families() -> None:
    spec = made_in(("IPv6",), type="ClusterIP", clusterIP="None")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv6", "IPv4"], "RequireDualStack")


@pytest.mark.parametrize(("family", "address"), [("IPv4", "10.96.0.1"), ("IPv6", "fd00:10:96::1")])
def test_the_api_servers_own_service_has_the_first_address(family: str, address: str) -> None:
    api = Api(families=(family,))
    assert api.get(f"{SERVICES}/kubernetes").body["spec"]["clusterIPs"] == [address]

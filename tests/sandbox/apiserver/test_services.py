# SPDX-License-Identifier: Apache-2.0
"""The Service: defaults, allocations, what may change, and its status. Texts are those of kube-apiserver 1.34."""

import ipaddress
from typing import Any

import pytest

from tests.sandbox.apiserver.driver import SERVICES, Api, service

WEB = f"{SERVICES}/web"


def make(api: Api, **spec: Any) -> Any:
    made = api.post(SERVICES, service(**spec))
    assert made.code == 201, made.body
    return made.body


def ingress(*entries: dict[str, str]) -> dict[str, Any]:
    return {"status": {"loadBalancer": {"ingress": list(entries)}}}


def test_a_load_balancer_is_completed(api: Api) -> None:
    spec = make(api)["spec"]
    port = spec["ports"][0]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert ipaddress.ip_address(spec["clusterIP"]) in ipaddress.ip_network("10.96.0.0/16")
    assert 30000 <= port.pop("nodePort") <= 32767
    assert port == {"port": 80, "protocol": "TCP", "targetPort": 80}
    rest = {name: spec[name] for name in spec.keys() - {"ports", "clusterIP", "clusterIPs"}}
    assert rest == {
        "type": "LoadBalancer",
        "sessionAffinity": "None",
        "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": True,
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }


@pytest.mark.parametrize(
    ("spec", "families", "policy"),
    [
        pytest.param({}, ["IPv4"], "SingleStack", id="nothing"),
        pytest.param({"ipFamilies": ["IPv6"]}, ["IPv6"], "SingleStack", id="one family"),
        pytest.param({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], "PreferDualStack", id="prefer"),
        pytest.param({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], "RequireDualStack", id="require, IPv6 first"),
        pytest.param({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], "PreferDualStack", id="both named"),
        pytest.param({"type": "ClusterIP", "clusterIP": "None"}, ["IPv4", "IPv6"], "RequireDualStack", id="headless without a selector"),
        pytest.param({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}, ["IPv4"], "SingleStack", id="headless with one"),
    ],
)  # fmt: skip
def test_families_follow_from(api: Api, spec: dict[str, Any], families: list[str], policy: str) -> None:
    made = make(api, **spec)["spec"]
    assert (made["ipFamilies"], made["ipFamilyPolicy"]) == (families, policy)
    if made["clusterIP"] != "None":
        versions = [f"IPv{ipaddress.ip_address(address).version}" for address in made["clusterIPs"]]
        assert versions == families


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"ports": []}, "spec.ports", id="no ports"),
        pytest.param({"ports": [{"port": 0}]}, "spec.ports[0].port", id="port 0"),
        pytest.param({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name", id="two ports without names"),
        pytest.param({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}, "spec.ports[1]", id="a port twice"),
        pytest.param({"ports": [{"port": 1, "protocol": "ICMP"}]}, "spec.ports[0].protocol", id="an odd protocol"),
        pytest.param({"ports": [{"port": 1, "nodePort": 99}]}, "spec.ports[0].nodePort", id="a node port out of range"),
        pytest.param({"type": "Odd"}, "spec.type", id="an odd type"),
        pytest.param({"type": "ClusterIP", "loadBalancerClass": "a/b"}, "spec.loadBalancerClass", id="a class on another type"),
        pytest.param({"type": "ClusterIP", "externalTrafficPolicy": "Local"}, "spec.externalTrafficPolicy", id="a policy on another type"),
        pytest.param({"externalTrafficPolicy": "Odd"}, "spec.externalTrafficPolicy", id="an odd policy"),
        pytest.param({"clusterIP": "192.0.2.1"}, "spec.clusterIPs", id="a cluster address of another range"),
        pytest.param({"clusterIP": "10.96.0.1"}, "spec.clusterIPs", id="a cluster address that is taken"),
        pytest.param({"clusterIP": "x"}, "spec.clusterIPs[0]", id="a cluster address that is none"),
        pytest.param({"ipFamilies": ["IPv5"]}, "spec.ipFamilies[0]", id="an odd family"),
        pytest.param({"ipFamilyPolicy": "Odd"}, "spec.ipFamilyPolicy", id="an odd family policy"),
        pytest.param({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}, "spec.ipFamilyPolicy", id="two families single stack"),
        pytest.param({"loadBalancerSourceRanges": ["x"]}, "spec.LoadBalancerSourceRanges[0]", id="a source range that is none"),
        pytest.param({"loadBalancerSourceRanges": ["192.0.2.1"]}, "spec.LoadBalancerSourceRanges[0]", id="a source range without a length"),
        pytest.param({"clusterIP": "None"}, "spec.clusterIPs[0]", id="no cluster address"),
        pytest.param({"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.8"]}, "spec.clusterIPs", id="cluster addresses that disagree"),
        pytest.param({"trafficDistribution": "Odd"}, "spec.trafficDistribution", id="an odd distribution"),
        pytest.param({"type": "ExternalName", "externalName": "-odd-"}, "spec.externalName", id="an external name that is none"),
        pytest.param({"ipFamilies": ["IPv4", "IPv6"]}, "spec.ipFamilyPolicy", id="two families without a policy"),
        pytest.param({"sessionAffinity": "Odd"}, "spec.sessionAffinity", id="an odd affinity"),
        pytest.param({"healthCheckNodePort": 31000}, "spec.healthCheckNodePort", id="a health port under policy Cluster"),
        pytest.param({"externalIPs": ["x"]}, "spec.externalIPs[0]", id="an external address that is none"),
        pytest.param({"selector": {"a b": "c"}}, "spec.selector", id="a selector that is no label"),
    ],
)  # fmt: skip
def test_a_service_is_refused_for(api: Api, spec: dict[str, Any], field: str) -> None:
    before = api.core.revision
    answer = api.post(SERVICES, service(**spec))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.body["details"]["causes"]]
    assert api.core.revision == before


@pytest.mark.parametrize("name", ["1web", "Web", "web.one", "a" * 64, "-", "..", ""])
def test_a_name_is_a_dns_1035_label(api: Api, name: str) -> None:
    assert api.post(SERVICES, service(name)).code == 422


def test_allocations_are_exclusive_and_come_back(api: Api) -> None:
    held = make(api)["spec"]
    wanted: dict[str, Any] = {"clusterIP": held["clusterIP"]}
    assert api.post(SERVICES, service("other", **wanted)).code == 422
    port: dict[str, Any] = {"ports": [{"port": 80, "nodePort": held["ports"][0]["nodePort"]}]}
    assert api.post(SERVICES, service("other", **port)).code == 422
    api.delete(WEB)
    assert api.post(SERVICES, service("other", **wanted, **port)).code == 201


def test_a_patch_keeps_what_was_allocated(api: Api) -> None:
    held = make(api)["spec"]
    after = api.put(
        WEB, service(ports=[{"port": 80}, {"port": 443, "name": "tls"}][:1], sessionAffinity="ClientIP")
    ).body["spec"]
    assert after["clusterIP"] == held["clusterIP"]
    assert after["ports"] == held["ports"]
    assert after["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_no_node_ports_where_none_are_wanted(api: Api) -> None:
    assert "nodePort" not in make(api, allocateLoadBalancerNodePorts=False)["spec"]["ports"][0]


def test_policy_local_has_a_health_port_and_leaving_it_gives_it_back(api: Api) -> None:
    port = make(api, externalTrafficPolicy="Local")["spec"]["healthCheckNodePort"]
    assert "healthCheckNodePort" not in api.patch(WEB, {"spec": {"externalTrafficPolicy": "Cluster"}}).body["spec"]
    assert api.post(SERVICES, service("other", type="NodePort", ports=[{"port": 1, "nodePort": port}])).code == 201


def test_the_class_is_set_once_and_leaves_with_the_type(api: Api) -> None:
    make(api, loadBalancerClass="purelb.io/purelb")
    changed = api.patch(WEB, {"spec": {"loadBalancerClass": "example.com/other"}})
    assert changed.body["details"]["causes"][0]["message"].endswith("may not change once set")
    left = api.patch(WEB, {"spec": {"type": "ClusterIP"}}).body["spec"]
    assert left.keys().isdisjoint({"loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"})
    assert "nodePort" not in left["ports"][0]


def test_the_first_family_and_address_stay(api: Api) -> None:
    make(api)
    assert api.patch(WEB, {"spec": {"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"]}}).code == 422
    assert api.patch(WEB, {"spec": {"ipFamilies": ["IPv6"]}}).code == 422


def test_the_second_family_comes_and_goes(api: Api) -> None:
    first = make(api)["spec"]["clusterIP"]
    dual = api.patch(WEB, {"spec": {"ipFamilyPolicy": "PreferDualStack"}}).body["spec"]
    assert (dual["ipFamilies"], dual["clusterIPs"][0], len(dual["clusterIPs"])) == (["IPv4", "IPv6"], first, 2)
    single = api.patch(WEB, {"spec": {"ipFamilyPolicy": "SingleStack"}}).body["spec"]
    assert (single["ipFamilies"], single["clusterIPs"]) == (["IPv4"], [first])


def test_becoming_an_external_name_gives_the_addresses_back(api: Api) -> None:
    make(api)
    change = {"type": "ExternalName", "externalName": "example.com"}
    assert api.patch(WEB, {"spec": change | {"clusterIP": "10.96.7.7"}}).code == 422
    after = api.patch(WEB, {"spec": change}).body["spec"]
    assert after.keys().isdisjoint({"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"})


def test_an_emptied_cluster_address_keeps_what_was_allocated(api: Api) -> None:
    held = make(api)["spec"]["clusterIP"]
    assert api.patch(WEB, {"spec": {"clusterIP": ""}}).body["spec"]["clusterIP"] == held


# --- status ----------------------------------------------------------------------------------------------------------


def test_a_status_write_takes_status_labels_and_annotations_and_leaves_the_spec(api: Api) -> None:
    made = make(api)
    body = ingress({"ip": "192.0.2.1"}) | {
        "metadata": {
            "annotations": {"purelb.io/allocated-by": "PureLB"},
            "labels": {"l": "m"},
            "resourceVersion": made["metadata"]["resourceVersion"],
        },
        "spec": {"ports": [{"port": 99}]},
    }
    after = api.patch(f"{WEB}/status", body).body
    assert after["spec"] == made["spec"]
    assert after["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    assert after["metadata"]["annotations"] == {"purelb.io/allocated-by": "PureLB"}
    assert after["metadata"]["labels"] == {"l": "m"}
    assert api.patch(f"{WEB}/status", body).code == 409, "its revision has passed"


def test_a_write_of_the_service_leaves_its_status(api: Api) -> None:
    make(api)
    api.patch(f"{WEB}/status", ingress({"ip": "192.0.2.1"}))
    after = api.patch(WEB, ingress() | {"metadata": {"labels": {"a": "b"}}}).body
    assert after["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"ip": "x"}, "status.loadBalancer.ingress[0].ip"),
        ({"ip": "192.0.2.1", "ipMode": "Odd"}, "status.loadBalancer.ingress[0].ipMode"),
        ({"hostname": "a.example.com", "ipMode": "VIP"}, "status.loadBalancer.ingress[0].ipMode"),
        ({"ip": "fe80::1%eth0"}, "status.loadBalancer.ingress[0].ip"),
        ({"hostname": "192.0.2.1"}, "status.loadBalancer.ingress[0].hostname"),
        ({"hostname": "not a name"}, "status.loadBalancer.ingress[0].hostname"),
    ],
    ids=[
        "an address that is none",
        "an odd mode",
        "a mode without an address",
        "a zone",
        "an address as name",
        "no name",
    ],
)
def test_a_status_is_refused_for(api: Api, entry: dict[str, str], field: str) -> None:
    made = make(api)
    answer = api.patch(f"{WEB}/status", ingress(entry))
    assert (answer.code, answer.body["details"]["causes"][0]["field"]) == (422, field)
    assert api.get(WEB).body == made


def test_only_a_load_balancer_has_ingress_and_leaving_the_type_clears_it(api: Api) -> None:
    make(api)
    api.patch(f"{WEB}/status", ingress({"ip": "192.0.2.1"}))
    assert api.patch(WEB, {"spec": {"type": "ClusterIP"}}).body["status"] == {"loadBalancer": {}}
    assert api.patch(f"{WEB}/status", ingress({"ip": "192.0.2.1"})).code == 422


def test_an_older_server_drops_the_mode_of_an_address_and_writing_it_again_changes_nothing() -> None:
    api = Api(version="1.29")
    make(api)
    first = api.patch(f"{WEB}/status", ingress({"ip": "192.0.2.1", "ipMode": "VIP"}))
    assert first.body["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1"}]
    assert api.patch(f"{WEB}/status", ingress({"ip": "192.0.2.1", "ipMode": "VIP"})).rv == first.rv

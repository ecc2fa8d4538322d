# SPDX-License-Identifier: Apache-2.0
"""What is taken and warned of."""

from typing import Any

import pytest

from tests.sandbox.apiserver.driver import DEFINITIONS, SERVICES, TESTS, Api, custom, definition, service

SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def test_a_source_range_with_host_bits_is_warned_of_once(api: Api) -> None:
    made = api.post(SERVICES, service(loadBalancerSourceRanges=["198.51.100.0/24", "192.0.2.1/24"]))
    assert made.code == 201
    assert 'spec.loadBalancerSourceRanges[1]: CIDR value \\"192.0.2.1/24\\" is ambiguous' in made.headers["warning"]
    assert '(should be \\"192.0.2.0/24\\" or \\"192.0.2.1/32\\"?)' in made.headers["warning"]
    assert "warning" not in api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}}).headers


@pytest.mark.parametrize(
    ("address", "warned"), [("2001:DB8::0001", True), ("2001:db8::1", False), ("192.0.2.1", False)]
)
def test_an_address_in_an_odd_form_is_warned_of(api: Api, address: str, *, warned: bool) -> None:
    api.post(SERVICES, service())
    body = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    found = api.patch(f"{SERVICES}/web/status", body)
    assert found.code == 200
    assert ("should be in RFC 5952 canonical format" in found.headers.get("warning", "")) is warned
    assert found.body["status"]["loadBalancer"]["ingress"][0]["ip"] == address


def test_a_finalizer_without_a_domain_is_warned_of_where_it_is_taken(api: Api) -> None:
    api.post(DEFINITIONS, definition())
    body: dict[str, Any] = custom()
    body["metadata"]["finalizers"] = ["hold"]
    assert "prefer a domain-qualified finalizer name" in api.post(TESTS, body).headers["warning"]
    assert "warning" not in api.patch(f"{TESTS}/a", {"spec": {"x": 1}}).headers


def test_a_slice_of_names_is_warned_of(api: Api) -> None:
    made = api.post(SLICES, {"metadata": {"name": "s"}, "addressType": "FQDN", "endpoints": []})
    assert "FQDN endpoints are deprecated" in made.headers["warning"]

# SPDX-License-Identifier: Apache-2.0
"""A value of the wrong type is refused in the words of Go's decoder, where the struct is known, else in our own."""

from typing import Any

import pytest

from tests.sandbox.apiserver.driver import SERVICES, Api, service


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ports": [{"port": "http"}]}, "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"),
        ({"ports": [{"port": 1.5}]}, "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.port of type int32"),
        ({"ports": [{"port": True}]}, "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.port of type int32"),
        ({"ports": {}}, "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ({"selector": {"a": 1}}, "json: cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string"),
        ({"type": []}, "json: cannot unmarshal array into Go struct field ServiceSpec.spec.type of type string"),
        ({"sessionAffinityConfig": {"clientIP": 1}}, "json: cannot unmarshal number into Go struct field SessionAffinityConfig.spec.sessionAffinityConfig.clientIP of type v1.ClientIPConfig"),
        ({"ports": [{"port": 1, "targetPort": []}]}, "spec.ports[0].targetPort"),
    ],
)  # fmt: skip
def test_a_service_with(api: Api, spec: dict[str, Any], said: str) -> None:
    refused = api.post(SERVICES, service(**spec))
    assert refused.code == 400
    prefix = 'Service in version "v1" cannot be handled as a Service: '
    assert refused.body["message"].startswith(prefix)
    assert said in refused.body["message"].removeprefix(prefix)


def test_a_patch_that_makes_a_wrong_type_is_blamed_with_the_same_words(api: Api) -> None:
    api.post(SERVICES, service())
    refused = api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": 1}}})
    assert refused.code == 422
    assert refused.body["message"].endswith(
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    )

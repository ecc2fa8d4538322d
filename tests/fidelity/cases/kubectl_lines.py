# SPDX-License-Identifier: Apache-2.0
"""What a person types: exit code and output of kubectl, ages left out. The lines are those that the embedded server is for."""

from __future__ import annotations

from tests.fidelity.cases.objects import EVENTS, LONG_AGO, SERVICES, config_map, event, named, service
from tests.fidelity.steps import Case, case, get, kubectl, patch, post

CM = {**config_map("one", data={"a": "1"})}
WEB = service("web", type="ClusterIP", clusterIP="None", ports=[{"name": "http", "port": 80}])

CASES: tuple[Case, ...] = (
    case("kubectl create, get, label, annotate, patch, delete",
         kubectl("create", "-f", "-", stdin=CM),
         kubectl("create", "-f", "-", stdin=CM),
         kubectl("get", "configmap", "one"),
         kubectl("get", "configmap", "one", "-o", "jsonpath={.data}"),
         kubectl("get", "configmap", "none"),
         kubectl("label", "configmap", "one", "a=b"),
         kubectl("label", "configmap", "one", "a=c"),
         kubectl("label", "configmap", "one", "a=c", "--overwrite"),
         kubectl("label", "configmap", "one", "a-"),
         kubectl("annotate", "configmap", "one", "note=x"),
         kubectl("patch", "configmap", "one", "-p", '{"data":{"a":"2"}}'),
         kubectl("patch", "configmap", "one", "--type=merge", "-p", '{"data":{"a":"2"}}'),
         kubectl("patch", "configmap", "one", "--type=json", "-p", '[{"op":"test","path":"/data/a","value":"9"}]'),
         kubectl("get", "configmap", "-l", "a=b"),
         kubectl("delete", "configmap", "one"),
         kubectl("delete", "configmap", "one")),
    case("kubectl apply",
         kubectl("apply", "-f", "-", stdin=CM),
         kubectl("apply", "-f", "-", stdin=CM),
         kubectl("apply", "-f", "-", stdin=config_map("one", data={"b": "2"})),
         kubectl("get", "configmap", "one", "-o", "jsonpath={.data}"),
         kubectl("apply", "--dry-run=server", "-f", "-", stdin=config_map("one", data={"c": "3"})),
         kubectl("get", "configmap", "one", "-o", "jsonpath={.data}"),
         kubectl("apply", "-f", "-", stdin=config_map("one", dat={"c": "3"})),
         kubectl("apply", "--validate=false", "-f", "-", stdin=config_map("One"))),
    case("kubectl get of Services",
         kubectl("create", "-f", "-", stdin=WEB),
         kubectl("get", "service", "web"),
         kubectl("get", "service", "web", "-o", "wide"),
         kubectl("get", "service", "-o", "name"),
         kubectl("get", "svc", "--sort-by=.metadata.name", "--no-headers"),
         kubectl("get", "svc", "--field-selector", "metadata.name=none"),
         kubectl("get", "svc", "--field-selector", "spec.nothing=none")),
    case("kubectl wait",
         kubectl("create", "-f", "-", stdin=CM),
         kubectl("wait", "configmap/one", "--for=jsonpath={.data.a}=1", "--timeout=5s"),
         kubectl("wait", "configmap/one", "--for=jsonpath={.data.a}=2", "--timeout=1s"),
         kubectl("delete", "configmap", "one", "--wait=false"),
         kubectl("wait", "configmap/one", "--for=delete", "--timeout=5s")),
    case("kubectl create of a Lease and its table",
         kubectl("create", "-f", "-", stdin=named("coordination.k8s.io/v1", "Lease", "one", spec={"holderIdentity": "me"})),
         kubectl("get", "lease"), kubectl("get", "lease", "-o", "custom-columns=N:.metadata.name,H:.spec.holderIdentity")),
    case("kubectl edit", kubectl("create", "-f", "-", stdin=CM), kubectl("edit", "configmap", "one"), kubectl("get", "configmap", "one", "-o", "jsonpath={.metadata.labels}")),
    case("kubectl replace", kubectl("replace", "-f", "-", stdin=CM), kubectl("create", "-f", "-", stdin=CM), kubectl("replace", "-f", "-", stdin=config_map("one", data={"z": "1"})),
         kubectl("get", "configmap", "one", "-o", "jsonpath={.data}")),
    case("kubectl wait for a condition", kubectl("create", "-f", "-", stdin=WEB),
         patch(f"{SERVICES}/web/status", {"status": {"conditions": [{"type": "Done", "status": "True", "reason": "Yes", "message": "", "lastTransitionTime": LONG_AGO}]}}, only=("kind",)),
         kubectl("wait", "service/web", "--for=condition=Done", "--timeout=5s"), kubectl("wait", "service/web", "--for=condition=Undone", "--timeout=1s")),
    case("kubectl version and api-resources", kubectl("api-resources", "--api-group=coordination.k8s.io", "--no-headers"),
         kubectl("api-resources", "--api-group=discovery.k8s.io", "-o", "name")),
    case("kubectl explain", kubectl("explain", "lease.spec.holderIdentity", "--output=plaintext-openapiv2"), kubectl("explain", "lease.nothing")),
    case("kubectl events", post(EVENTS, event("seen", type="Warning", lastTimestamp=LONG_AGO)), kubectl("events", "--types=Warning", "-o", "name")),
    case("kubectl get -w and a timeout", kubectl("create", "-f", "-", stdin=CM), kubectl("get", "configmap", "one", "-w", "--request-timeout=1s")),
    case("kubectl and a kind that is none", kubectl("get", "frobnicators"), get("/apis/none.example.com/v1")),
)  # fmt: skip

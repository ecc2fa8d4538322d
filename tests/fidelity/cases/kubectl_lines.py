# SPDX-License-Identifier: Apache-2.0
"""What a person types: exit code and output of kubectl, ages left out. The lines are those that the embedded server is for."""

from __future__ import annotations

from tests.fidelity.cases.objects import config_map, named, service
from tests.fidelity.steps import Case, case, get, kubectl

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
    case("kubectl and a kind that is none", kubectl("get", "frobnicators"), get("/apis/none.example.com/v1")),
)  # fmt: skip

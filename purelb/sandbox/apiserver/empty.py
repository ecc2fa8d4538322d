# SPDX-License-Identifier: Apache-2.0
"""What an object of a built-in kind shows that has nothing in it: the fields that Go's encoder never leaves out.

A bookmark is such an object, and a typed client must be able to read it. A Node's status begins as its own.
"""

from collections.abc import Mapping

from purelb.sandbox.apiserver.answers import Obj

NODE_STATUS: Mapping[str, Mapping[str, object]] = {
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": dict.fromkeys(
        (
            "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
            "kubeProxyVersion", "operatingSystem", "architecture",
        ),
        "",
    ),
}  # fmt: skip
_TIMES: Obj = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
EMPTY: Mapping[tuple[str, str], Obj] = {
    ("services", "v1"): {"spec": {}, "status": {"loadBalancer": {}}},
    ("nodes", "v1"): {"spec": {}, "status": dict(NODE_STATUS)},
    ("namespaces", "v1"): {"spec": {}, "status": {}},
    ("pods", "v1"): {"spec": {"containers": None}, "status": {}},
    ("events", "v1"): {"involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": ""} | _TIMES,
    ("leases.coordination.k8s.io", "coordination.k8s.io/v1"): {"spec": {}},
    ("endpointslices.discovery.k8s.io", "discovery.k8s.io/v1"): {"addressType": "", "endpoints": None, "ports": None},
}
"""By collection and version. A kind without a row here shows its metadata only."""

# SPDX-License-Identifier: Apache-2.0
"""A sandbox is what deploy/ installs: the same objects, and the same environment for the same arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from purelb.sandbox.cluster.programs import layout, programs
from purelb.sandbox.cluster.shipped import manifests
from purelb.sandbox.rig.topology import Shape

ROOT = Path(__file__).parents[3]
TOPOLOGY = layout(Shape(nodes=2))
# What the supervisor gives every program, or what Kubernetes gives every container, beyond the manifest.
GIVEN = {"PATH", "LANG", "PYTHONUNBUFFERED", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
# The uid is known when the pod is stored: the keeper adds it at each start.
ADDED_AT_START = {"PURELB_POD_UID"}
# What a field of the pod is in the sandbox; `n2` because the second node can be mistaken for less.
FIELDS = {"metadata.namespace": "purelb-system", "spec.nodeName": "n2", "status.hostIP": "172.30.1.2"}


def documents(*paths: str) -> list[dict[str, Any]]:
    return [one for path in paths for one in yaml.safe_load_all((ROOT / "deploy" / path).read_text()) if one]


def identity(body: Any) -> tuple[str, str]:
    return body["kind"], body["metadata"]["name"]


@pytest.mark.parametrize(("component", "pod"), [("allocator", "allocator"), ("lbnodeagent", "lbnodeagent-n2")])
def test_a_component_runs_with_the_arguments_and_the_environment_of_its_manifest(component: str, pod: str) -> None:
    (workload,) = documents(f"base/{component}.yaml")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    shipped = {
        one["name"]: one.get("value") or FIELDS[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for one in container["env"]
        if one["name"] not in ADDED_AT_START
    }
    (program,) = (one for one in programs(TOPOLOGY, proxy="user") if one.pod == pod)
    assert {name: value for name, value in program.env.items() if name not in GIVEN} == shipped
    assert list(program.argv[-len(container["args"]) :]) == container["args"]
    assert program.account == workload["spec"]["template"]["spec"]["serviceAccountName"]


def test_the_allocator_serves_services_without_a_class_because_its_manifest_says_so() -> None:
    (workload,) = documents("base/allocator.yaml")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert {"name": "DEFAULT_ANNOUNCER", "value": "PureLB"} in container["env"]


def test_the_same_accounts_roles_and_bindings_are_installed() -> None:
    shipped = documents("overlays/default/namespace.yaml", "base/serviceaccounts.yaml", "base/rbac.yaml")
    installed = [one for one in manifests() if one["kind"] != "CustomResourceDefinition"]
    assert {identity(one): one for one in installed} == {identity(one): one for one in shipped}

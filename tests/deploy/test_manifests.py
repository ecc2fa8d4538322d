# SPDX-License-Identifier: Apache-2.0
"""What `kubectl kustomize` makes of deploy/: complete, least privileged, and in step with the code."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from purelb.cli.rbac import COMPONENTS, DEFAULT_NAMESPACE, render
from purelb.process.settings import fields_of

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.kubectl


@cache
def built() -> tuple[dict[str, Any], ...]:
    text = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "deploy/overlays/default")], check=True, capture_output=True, text=True
    ).stdout
    return tuple(yaml.safe_load_all(text))


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (item for item in built() if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def container(kind: str, name: str) -> dict[str, Any]:
    (only,) = one(kind, name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


WORKLOADS = [("Deployment", "allocator"), ("DaemonSet", "lbnodeagent")]


def test_the_default_overlay_installs_everything_in_one_namespace() -> None:
    namespaced = {item["metadata"]["namespace"] for item in built() if "namespace" in item["metadata"]}
    assert namespaced == {DEFAULT_NAMESPACE}
    kinds = {item["kind"] for item in built()}
    assert kinds == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Namespace",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    }


def test_the_namespace_lets_the_agent_use_the_hosts_network() -> None:
    labels = one("Namespace", DEFAULT_NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_the_committed_rbac_is_what_the_access_tables_say() -> None:
    assert (ROOT / "deploy/base/rbac.yaml").read_text() == render(DEFAULT_NAMESPACE)


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_component_may_read_secrets_or_everything(component: str) -> None:
    rules = [
        rule
        for item in built()
        if item["kind"] in {"ClusterRole", "Role"} and item["metadata"]["name"] == f"purelb:{component}"
        for rule in item["rules"]
    ]
    assert rules
    for rule in rules:
        assert not {"secrets", "configmaps", "*"} & set(rule["resources"])
        assert "*" not in rule["verbs"]
        assert "*" not in rule["apiGroups"]


def test_agents_cannot_write_services() -> None:
    role = one("ClusterRole", "purelb:lbnodeagent")
    verbs = {
        verb for rule in role["rules"] for verb in rule["verbs"] if any("services" in r for r in rule["resources"])
    }
    assert verbs == {"get", "list", "watch"}


@pytest.mark.parametrize(("kind", "name"), WORKLOADS, ids=["allocator", "lbnodeagent"])
def test_a_container_has_no_more_than_it_needs(kind: str, name: str) -> None:
    security = container(kind, name)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    added = security["capabilities"].get("add", [])
    assert added == (["NET_ADMIN", "NET_RAW"] if name == "lbnodeagent" else [])


def test_the_allocator_does_not_run_as_root() -> None:
    security = one("Deployment", "allocator")["spec"]["template"]["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 65532)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize(("kind", "name"), WORKLOADS, ids=["allocator", "lbnodeagent"])
def test_a_workload_selects_its_own_pods_and_no_service_link_sets_a_setting(kind: str, name: str) -> None:
    spec = one(kind, name)["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["template"]["spec"]["enableServiceLinks"] is False
    assert spec["template"]["spec"]["serviceAccountName"] == name


@pytest.mark.parametrize(("kind", "name"), WORKLOADS, ids=["allocator", "lbnodeagent"])
def test_each_variable_of_a_manifest_is_a_setting_of_its_component(kind: str, name: str) -> None:
    if name == "allocator":
        from purelb.allocator.main import AllocatorSettings as Settings
    else:
        from purelb.lbnodeagent.main import AgentSettings as Settings  # type: ignore[assignment]
    known = {field.env for field in fields_of(Settings)}
    given = {variable["name"] for variable in container(kind, name)["env"]}
    assert given <= known

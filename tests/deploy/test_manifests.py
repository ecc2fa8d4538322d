# SPDX-License-Identifier: Apache-2.0
"""What `kubectl kustomize` makes of deploy/: complete, least privileged, and in step with the code."""

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from purelb.cli.rbac import COMPONENTS, DEFAULT_NAMESPACE, render, render_metrics_auth
from purelb.process.options import ProcessSettings
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
    committed = (ROOT / "deploy/components/metrics-auth/rbac.yaml").read_text()
    assert committed == render_metrics_auth(DEFAULT_NAMESPACE)


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
        from purelb.allocator.settings import AllocatorSettings as Settings
    else:
        from purelb.lbnodeagent.main import AgentSettings as Settings  # type: ignore[assignment]
    known = {field.env for field in fields_of(Settings)}
    given = {variable["name"] for variable in container(kind, name)["env"]}
    assert given <= known


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The default overlay with the component `metrics-auth`."""
    overlay = tmp_path_factory.mktemp("overlay")
    content = {
        "resources": [os.path.relpath(ROOT / "deploy/overlays/default", overlay)],
        "components": [os.path.relpath(ROOT / "deploy/components/metrics-auth", overlay)],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    text = subprocess.run(["kubectl", "kustomize", str(overlay)], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize(("kind", "name"), WORKLOADS, ids=["allocator", "lbnodeagent"])
def test_metrics_auth_adds_tls_and_changes_nothing_else(closed: list[dict[str, Any]], kind: str, name: str) -> None:
    (found,) = (item for item in closed if item["kind"] == kind and item["metadata"]["name"] == name)
    (changed,) = found["spec"]["template"]["spec"]["containers"]
    before = container(kind, name)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert changed[probe]["httpGet"].pop("scheme") == "HTTPS"
        assert changed[probe] == before[probe]
    added = {item["name"]: item.get("value") for item in changed["env"] if item not in before["env"]}
    assert added == {
        "PURELB_METRICS_TLS_CERT": "/etc/purelb/metrics/tls.crt",
        "PURELB_METRICS_TLS_KEY": "/etc/purelb/metrics/tls.key",
        "PURELB_METRICS_AUTH": "kubernetes",
    }
    assert added.keys() <= {field.env for field in fields_of(ProcessSettings)}
    assert changed["securityContext"] == before["securityContext"]


def test_the_rights_of_metrics_auth_are_those_of_both_accounts_and_no_others(closed: list[dict[str, Any]]) -> None:
    names = {(item["kind"], item["metadata"]["name"]) for item in closed}
    base = {(item["kind"], item["metadata"]["name"]) for item in built()}
    assert names - base == {
        ("ClusterRole", "purelb:metrics-auth"),
        ("ClusterRole", "purelb:metrics-reader"),
        ("ClusterRoleBinding", "purelb:metrics-auth"),
    }
    (role,) = (
        item for item in closed if item["metadata"]["name"] == "purelb:metrics-auth" and item["kind"] == "ClusterRole"
    )
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["tokenreviews"], ["create"]),
        (["subjectaccessreviews"], ["create"]),
    ]

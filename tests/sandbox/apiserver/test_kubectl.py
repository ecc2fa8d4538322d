# SPDX-License-Identifier: Apache-2.0
"""What a person types: each line of kubectl that this server promises, with its exit code and what it prints."""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.faults import CutStream, Rule
from purelb.sandbox.apiserver.http import Server, serve
from purelb.sandbox.apiserver.pki import Pki

pytestmark = [pytest.mark.kubectl, pytest.mark.timeout(120)]
CRDS = Path(__file__).parents[3] / "crds"

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""
GROUP = """
apiVersion: purelb.io/v2
kind: ServiceGroup
metadata: {name: default}
spec:
  local:
    v4pools: [{pool: 192.0.2.10-192.0.2.20, subnet: 192.0.2.0/24}]
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24, "fd00:244:1::/64"]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {nodeName: n1, containers: [{name: main, image: echo}]}
"""
EVENT = """
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: web.1, namespace: default}
eventTime: "2026-01-01T00:00:00.000000Z"
reportingController: purelb-allocator
reportingInstance: pod-1
action: Allocate
reason: AddressAssigned
type: Normal
note: 192.0.2.10 from default
regarding: {apiVersion: v1, kind: Service, name: web, namespace: default, uid: UID}
"""


class Kubectl:
    def __init__(self, server: Server, kubeconfig: str, home: Path) -> None:
        self.server = server
        self._environment = {"PATH": os.environ["PATH"], "KUBECONFIG": kubeconfig, "HOME": str(home)}

    async def start(self, *words: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "kubectl",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment | environment,
        )

    async def run(self, line: str, *, given: str = "", code: int = 0, **environment: str) -> str:
        """What a line prints, standard error last; it must end with this exit code."""
        process = await self.start(*line.split(), **environment)
        out, err = await process.communicate(given.encode())
        said = out.decode() + err.decode()
        assert process.returncode == code, f"kubectl {line}: {process.returncode}\n{said}"
        return said

    async def watching(self, *, somebody: bool = True) -> None:
        """Return once somebody watches, or nobody does any more."""
        async with asyncio.timeout(20):
            while bool(self.server.open_streams) is not somebody:
                await asyncio.sleep(0.01)

    async def status(self, name: str, address: str) -> None:
        body = msgspec.json.encode({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).decode()
        await self.run(f"patch svc {name} --subresource=status --type=merge -p {body}")


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    core = ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC))
    async with serve(core, pki=Pki(tmp_path / "pki")) as server:
        yield Kubectl(server, server.admin_kubeconfig(), tmp_path)


async def test_version_and_api_resources(kubectl: Kubectl) -> None:
    assert "Server Version: v1.34" in await kubectl.run("version")
    await kubectl.run(f"apply -f {CRDS}/servicegroups.purelb.io.yaml")
    shown = await kubectl.run("api-resources")
    assert re.search(r"^services +svc +v1 +true +Service$", shown, re.MULTILINE)
    assert re.search(r"^servicegroups +sg,sgs +purelb.io/v2 +true +ServiceGroup$", shown, re.MULTILINE)


async def test_apply_twice_then_changed_then_deleted(kubectl: Kubectl) -> None:
    assert "service/web created" in await kubectl.run("apply -f -", given=SERVICE)
    assert "service/web unchanged" in await kubectl.run("apply -f -", given=SERVICE)
    assert "service/web configured" in await kubectl.run("apply -f -", given=SERVICE.replace("port: 80,", "port: 81,"))
    assert "81:" in await kubectl.run("get svc web")
    assert "server dry run" in await kubectl.run("apply --dry-run=server -f -", given=SERVICE)
    assert 'service "web" deleted' in await kubectl.run("delete -f -", given=SERVICE)
    assert "NotFound" in await kubectl.run("get svc web", code=1)


async def test_apply_takes_a_list_and_judges_each_of_its_items(kubectl: Kubectl) -> None:
    config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}}"
    service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}"
    several = f"apiVersion: v1\nkind: List\nitems: [{config}, {service}]\n"
    said = await kubectl.run("apply -f -", given=several)
    assert "configmap/a" in said
    assert "service/web" in said
    misspelt = several.replace("ports:", "prots:")
    assert 'unknown field "spec.prots"' in await kubectl.run("apply -f -", given=misspelt, code=1)


async def test_get_in_its_forms(kubectl: Kubectl) -> None:
    await kubectl.run("apply -f -", given=SERVICE)
    table = await kubectl.run("get svc")
    assert table.splitlines()[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert re.search(r"^web +LoadBalancer +10\.96\.\d+\.\d+ +<pending> +80:3\d{4}/TCP +\d+s$", table, re.MULTILINE)
    await kubectl.status("web", "192.0.2.10")
    assert " 192.0.2.10 " in await kubectl.run("get svc web")
    assert "app=web" in await kubectl.run("get svc web -o wide")
    assert "clusterIP: 10.96." in await kubectl.run("get svc web -o yaml")
    assert msgspec.json.decode(await kubectl.run("get svc web -o json"))["kind"] == "Service"
    assert await kubectl.run("get svc web -o jsonpath={.status.loadBalancer.ingress[0].ip}") == "192.0.2.10"
    assert await kubectl.run("get svc -l app=web -o name") == "service/web\n"
    assert await kubectl.run("get svc --field-selector metadata.name=kubernetes -o name") == "service/kubernetes\n"
    everywhere = await kubectl.run("get svc -A --sort-by=.metadata.name --no-headers")
    assert [line.split()[:2] for line in everywhere.splitlines()] == [["default", "kubernetes"], ["default", "web"]]
    assert "service/web" in await kubectl.run("get all")


async def test_describe_shows_the_service_with_its_events(kubectl: Kubectl) -> None:
    await kubectl.run("apply -f -", given=SERVICE)
    uid = await kubectl.run("get svc web -o jsonpath={.metadata.uid}")
    assert "created" in await kubectl.run("create -f -", given=EVENT.replace("UID", uid))
    shown = await kubectl.run("describe svc web")
    assert re.search(r"^Type: +LoadBalancer$", shown, re.MULTILINE)
    assert re.search(r"^TargetPort: +8080/TCP$", shown, re.MULTILINE)
    assert re.search(r"Normal +AddressAssigned .* purelb-allocator +192.0.2.10 from default", shown)
    assert "192.0.2.10 from default" in await kubectl.run("events")
    assert "service/web" in await kubectl.run("get events --field-selector involvedObject.name=web")


async def test_edit_label_annotate_and_patch_in_three_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl.run("apply -f -", given=SERVICE)
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/port: 80$/port: 82/' \"$1\"\n")
    editor.chmod(0o700)
    assert "service/web edited" in await kubectl.run("edit svc web", EDITOR=str(editor))
    assert "service/web labeled" in await kubectl.run("label svc web tier=front")
    assert "service/web annotated" in await kubectl.run("annotate svc web purelb.io/service-group=default")
    assert "service/web annotated" in await kubectl.run("annotate svc web purelb.io/service-group-")
    assert "patched" in await kubectl.run('patch svc web -p {"spec":{"sessionAffinity":"ClientIP"}}')
    assert "patched" in await kubectl.run('patch svc web --type=merge -p {"metadata":{"labels":{"m":"1"}}}')
    assert "patched" in await kubectl.run(
        'patch svc web --type=json -p [{"op":"add","path":"/metadata/labels/j","value":"1"}]'
    )
    seen = msgspec.json.decode(await kubectl.run("get svc web -o json"))
    assert seen["metadata"]["labels"] == {"app": "web", "tier": "front", "m": "1", "j": "1"}
    assert (seen["spec"]["ports"][0]["port"], seen["spec"]["sessionAffinity"]) == (82, "ClientIP")


async def test_mistakes_are_explained(kubectl: Kubectl) -> None:
    typo = await kubectl.run("apply -f -", given=SERVICE.replace("selector", "selektor"), code=1)
    assert 'unknown field "spec.selektor"' in typo
    odd = await kubectl.run("apply -f -", given=SERVICE.replace("port: 80,", "port: 0,"), code=1)
    assert "must be between 1 and 65535" in odd
    await kubectl.run(f"apply -f {CRDS}/servicegroups.purelb.io.yaml")
    two = await kubectl.run("apply -f -", given=GROUP + "  remote: {}\n", code=1)
    assert "give exactly one of local, remote, netbox, external" in two
    apart = await kubectl.run("apply --server-side -f -", given=SERVICE, code=1)
    assert "is not part of this server: use kubectl apply without --server-side" in apart
    assert "not found" in await kubectl.run("delete svc nothing", code=1)


async def test_create_in_the_ways_that_send_protobuf(kubectl: Kubectl) -> None:
    await kubectl.run("create namespace shop")
    await kubectl.run("create -n shop configmap c --from-literal=a=b")
    await kubectl.run("create -n shop secret generic s --from-literal=p=q")
    await kubectl.run("create -n shop serviceaccount agent")
    await kubectl.run("create -n shop service loadbalancer lb --tcp=80:8080")
    assert await kubectl.run("get -n shop cm c -o jsonpath={.data.a}") == "b"
    assert await kubectl.run("get -n shop secret s -o jsonpath={.data.p}") == "cQ=="
    spec = msgspec.json.decode(await kubectl.run("get -n shop svc lb -o json"))["spec"]
    assert (spec["type"], spec["ports"][0]["targetPort"], spec["selector"]) == ("LoadBalancer", 8080, {"app": "lb"})
    token = (await kubectl.run("create -n shop token agent")).strip()
    user = kubectl.server.core.tokens.user(token, kubectl.server.now())
    assert user is not None
    assert user.name == "system:serviceaccount:shop:agent"
    assert "as JSON only" in await kubectl.run("create deployment d --image=x", code=1)
    assert 'namespace "shop" deleted' in await kubectl.run("delete namespace shop")
    assert "NotFound" in await kubectl.run("get namespace shop", code=1)


async def test_wait_for_a_field_a_condition_and_the_end(kubectl: Kubectl) -> None:
    await kubectl.run("apply -f -", given=SERVICE)
    async with asyncio.TaskGroup() as group:
        address = group.create_task(
            kubectl.run("wait svc/web --timeout=20s --for=jsonpath={.status.loadBalancer.ingress[0].ip}=192.0.2.10")
        )
        await kubectl.watching()
        group.create_task(kubectl.status("web", "192.0.2.10"))
    assert "service/web condition met" in address.result()
    condition = '{"status":{"conditions":[{"type":"purelb.io/Allocated","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}'
    await kubectl.run(f"patch svc web --subresource=status --type=merge -p {condition}")
    assert "condition met" in await kubectl.run("wait svc/web --timeout=20s --for=condition=purelb.io/Allocated")
    await kubectl.watching(somebody=False)
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(kubectl.run("wait svc/web --timeout=20s --for=delete"))
        await kubectl.watching()
        group.create_task(kubectl.run("delete svc web --wait"))
    assert "service/web condition met" in gone.result()


async def test_get_watch_shows_changes_and_ends_in_peace_when_its_stream_does(kubectl: Kubectl) -> None:
    kubectl.server.core.faults.add(Rule(effect=CutStream(after_frames=2, clean=True), verb="watch"))
    process = await kubectl.start("get", "svc", "-w", "--no-headers")
    await kubectl.watching()
    await kubectl.run("apply -f -", given=SERVICE)
    await kubectl.status("web", "192.0.2.10")
    out, err = await process.communicate()
    assert [line.split()[0] for line in out.splitlines()] == [b"kubernetes", b"web", b"web"]
    assert (process.returncode, err) == (0, b""), "kubectl does not open a second watch, here or elsewhere"


async def test_custom_resources_are_applied_shown_explained_and_deleted(kubectl: Kubectl) -> None:
    assert "created" in await kubectl.run(f"apply -f {CRDS}/servicegroups.purelb.io.yaml")
    assert "condition met" in await kubectl.run("wait --for=condition=Established crd/servicegroups.purelb.io")
    assert "servicegroup.purelb.io/default created" in await kubectl.run("apply -f -", given=GROUP)
    table = await kubectl.run("get sg")
    assert table.splitlines()[0].split() == ["NAME", "ANNOUNCE", "IPAM", "ALLOCATED-V4", "ALLOCATED-V6", "READY", "AGE"]
    assert "Off Subnet:" in await kubectl.run("describe sg default")
    tree = await kubectl.run("explain servicegroups.spec --recursive")
    assert re.search(r"^ {2}local\s<Object>$", tree, re.MULTILINE)
    assert re.search(r"^ {4}v4pools\s<\[\]Object>$", tree, re.MULTILINE)
    assert "The list of ports" in await kubectl.run("explain svc.spec.ports")
    assert "patched" in await kubectl.run('patch sg default --type=merge -p {"spec":{"priority":5}}')
    assert "deleted" in await kubectl.run("delete sg default")
    assert "deleted" in await kubectl.run("delete crd servicegroups.purelb.io")
    assert "could not find the requested resource" in await kubectl.run("get sg", code=1)


async def test_apply_of_a_directory_with_a_kustomization(kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl.run(f"apply -f {CRDS}/servicegroups.purelb.io.yaml")
    written = {
        "kustomization.yaml": "resources: [web.yaml, group.yaml]\nnamePrefix: my-\n",
        "web.yaml": SERVICE,
        "group.yaml": GROUP,
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    said = await kubectl.run(f"apply -k {tmp_path}")
    assert "service/my-web created" in said
    assert "servicegroup.purelb.io/my-default created" in said
    assert "unchanged" in await kubectl.run(f"apply -k {tmp_path}")
    assert 'service "my-web" deleted' in await kubectl.run(f"delete -k {tmp_path}")


async def test_describe_shows_nodes_pods_and_groups(kubectl: Kubectl) -> None:
    await kubectl.run("apply -f -", given=NODE)
    address = '{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready","status":"True","reason":"Yes"}]}}'
    await kubectl.run(f"patch node n1 --subresource=status --type=merge -p {address}")
    shown = await kubectl.run("describe node n1")
    assert re.search(r"^PodCIDRs: +10.244.1.0/24,fd00:244:1::/64$", shown, re.MULTILINE)
    assert re.search(r"^ +InternalIP: +192.0.2.1$", shown, re.MULTILINE)
    assert re.search(r"^ +Ready +True ", shown, re.MULTILINE)
    assert re.search(r"^n1 +Ready +<none> +\d+s", await kubectl.run("get nodes"), re.MULTILINE)
    assert "192.0.2.1" in await kubectl.run("get nodes -o wide")
    await kubectl.run("apply -f -", given=POD)
    shown = await kubectl.run("describe pod one")
    assert re.search(r"^Node: +n1", shown, re.MULTILINE)
    assert re.search(r"^ +Image: +echo$", shown, re.MULTILINE)
    assert re.search(r"^one +0/1 +Pending +0 ", await kubectl.run("get pods"), re.MULTILINE)
    assert await kubectl.run("get pods --field-selector spec.nodeName=n1 -o name") == "pod/one\n"
    assert 'pod "one" force deleted' in await kubectl.run("delete pod one --force --grace-period=0")
    await kubectl.run(f"apply -f {CRDS}/servicegroups.purelb.io.yaml")
    await kubectl.run("apply -f -", given=GROUP)
    assert re.search(
        r"^ +Pool: +192.0.2.10-192.0.2.20$", await kubectl.run("describe servicegroup default"), re.MULTILINE
    )


async def test_delete_waits_for_finalizers_or_does_not(kubectl: Kubectl) -> None:
    await kubectl.run("create configmap c --from-literal=a=b")
    await kubectl.run('patch configmap c --type=merge -p {"metadata":{"finalizers":["purelb.io/hold"]}}')
    assert "deleted" in await kubectl.run("delete configmap c --wait=false")
    assert "timed out waiting" in await kubectl.run("delete configmap c --timeout=1s", code=1)
    await kubectl.watching(somebody=False)
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(kubectl.run("delete configmap c --timeout=20s"))
        await kubectl.watching()
        group.create_task(kubectl.run('patch configmap c --type=merge -p {"metadata":{"finalizers":null}}'))
    assert "deleted" in gone.result()
    assert "NotFound" in await kubectl.run("get configmap c", code=1)
    await kubectl.run("create configmap d --from-literal=a=b")
    assert "needs a garbage collector" in await kubectl.run("delete configmap d --cascade=foreground", code=1)
    assert "deleted" in await kubectl.run("delete configmap d --cascade=orphan")


async def test_what_the_server_warns_of_is_shown(kubectl: Kubectl) -> None:
    given = SERVICE.replace("type: LoadBalancer", "type: LoadBalancer\n  loadBalancerSourceRanges: [192.0.2.1/24]")
    said = await kubectl.run("apply -f -", given=given)
    assert "service/web created" in said
    assert 'Warning: spec.loadBalancerSourceRanges[0]: CIDR value "192.0.2.1/24" is ambiguous in this context' in said

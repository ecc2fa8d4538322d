# SPDX-License-Identifier: Apache-2.0
"""DELETE: preconditions, grace, finalizers, policies and whole collections."""

from __future__ import annotations

from tests.fidelity.cases.objects import CONFIG_MAPS, LEASES, PODS, SERVICES, config_map, labelled, pod, service
from tests.fidelity.steps import Case, case, delete, get, patch, post

ONE = f"{CONFIG_MAPS}/one"


DELETES = (
    case("a DELETE", post(CONFIG_MAPS, config_map("one")), delete(ONE), get(ONE), delete(ONE)),
    case("a DELETE in a dry run", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?dryRun=All"), get(ONE)),
    case("a DELETE with its dry run in the body", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"dryRun": ["All"]}), get(ONE)),
    case("a DELETE of the right uid", post(CONFIG_MAPS, config_map("one"), keep="one"), delete(ONE, {"preconditions": {"uid": "<one.uid>"}})),
    case("a DELETE of another uid", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})),
    case("a DELETE of the right revision", post(CONFIG_MAPS, config_map("one"), keep="one"), delete(ONE, {"preconditions": {"resourceVersion": "<one.rv>"}})),
    case("a DELETE of another revision", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": {"resourceVersion": "1"}})),
    case("a DELETE with a body that says what it is", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})),
    case("a DELETE in the background", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Background")),
    case("a DELETE that orphans", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Orphan")),
    case("a DELETE in the foreground", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Foreground")),
    case("a DELETE in a way nobody knows", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Sideways")),
    case("a DELETE with a body that is none", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": 7})),
    case("a DELETE with a grace period", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?gracePeriodSeconds=5"), get(ONE)),
    case("a DELETE with a negative grace period", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?gracePeriodSeconds=-5")),
    case(
        "a DELETE of what a finalizer holds",
        post(CONFIG_MAPS, config_map("one", metadata={"finalizers": ["purelb.io/hold", "purelb.io/more"]})),
        delete(ONE),
        delete(ONE),
        get(ONE),
        patch(ONE, {"data": {"still": "here"}}),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/hold", "purelb.io/new"]}}),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/hold"]}}),
        patch(ONE, {"metadata": {"finalizers": []}}),
        get(ONE),
    ),
    case(
        "a DELETE of a Service that a finalizer holds",
        post(SERVICES, service(metadata={"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}), only=("kind",)),
        delete(f"{SERVICES}/web", leave_out=("spec",)),
        patch(f"{SERVICES}/web/status", {"metadata": {"finalizers": []}}, leave_out=("spec",)),
        get(f"{SERVICES}/web"),
    ),
    case("a DELETE of a Service", post(SERVICES, service(), only=("kind",)), delete(f"{SERVICES}/web")),
    case(
        "a DELETE of a Pod",
        post(PODS, pod("one", nodeName="fidelity-node"), only=("kind",)),
        delete(f"{PODS}/one", leave_out=("spec", "status")),
        get(f"{PODS}/one", only=("metadata.deletionGracePeriodSeconds",)),
        delete(f"{PODS}/one?gracePeriodSeconds=0", leave_out=("spec", "status")),
        get(f"{PODS}/one"),
    ),
    case("a DELETE of a Pod without a node", post(PODS, pod("one"), only=("kind",)), delete(f"{PODS}/one", leave_out=("spec", "status")), get(f"{PODS}/one")),
    case(
        "a DELETE of a selection",
        *[post(LEASES, labelled(name, app=app)) for name, app in (("a", "x"), ("b", "y"), ("c", "x"))],
        delete(f"{LEASES}?labelSelector=app=x&dryRun=All"),
        delete(f"{LEASES}?labelSelector=app=x"),
        get(LEASES),
        delete(f"{LEASES}?fieldSelector=metadata.name=none"),
        delete(LEASES),
        get(LEASES),
    ),
    case("a DELETE of a selection that is none", delete(f"{LEASES}?labelSelector=a%20in%20(")),
    case("a DELETE in all namespaces", delete("/apis/coordination.k8s.io/v1/leases?labelSelector=nobody=has-this")),
    case("a DELETE of a collection of Services", post(SERVICES, service()), delete(SERVICES), get(SERVICES)),
    case("a DELETE of a status", post(SERVICES, service()), delete(f"{SERVICES}/web/status")),
)  # fmt: skip

CASES: tuple[Case, ...] = DELETES

# SPDX-License-Identifier: Apache-2.0
"""GET and LIST: revisions, pages, continue tokens, selectors, and what is wrong with each of them."""

from __future__ import annotations

from tests.fidelity.cases.objects import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    config_map,
    event,
    labelled,
    named,
    pod,
    service,
)
from tests.fidelity.steps import Case, Compact, Room, case, delete, get, patch, post

FIVE = Room(
    name="five leases",
    prepare=tuple(
        post(LEASES, labelled(name, app=app, **({"tier": tier} if tier else {})))
        for name, app, tier in (("a", "web", ""), ("b", "web", "front"), ("c", "db", "back"), ("d", "db", ""), ("e", "web", "back"))
    ),
)  # fmt: skip
FUTURE = "999999999999"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def listed(query: str) -> Case:
    """One list of the five leases with a query."""
    return case(f"a list with {query}", get(f"{LEASES}?{query}"), room=FIVE)


GETS = (
    case("a GET of what is there", get(f"{LEASES}/a"), room=FIVE),
    case("a GET of what is not there", get(f"{LEASES}/none"), room=FIVE),
    case("a GET with resourceVersion 0", get(f"{LEASES}/a?resourceVersion=0"), room=FIVE),
    case(
        "a GET not older than the object",
        get(f"{LEASES}/a", keep="a"),
        get(f"{LEASES}/a?resourceVersion=<a.rv>"),
        room=FIVE,
    ),
    case("a GET of a revision to come", get(f"{LEASES}/a?resourceVersion={FUTURE}"), room=FIVE),
    case("a GET with a resourceVersion that is no number", get(f"{LEASES}/a?resourceVersion=x"), room=FIVE),
    case("a GET of metadata only", get(f"{LEASES}/a", accept=PARTIAL), room=FIVE),
    case(
        "a GET as a table",
        get(f"{LEASES}/a", accept=TABLE, leave_out=("rows.cells", "columnDefinitions.description")),
        room=FIVE,
    ),
    case("a GET that accepts nothing we have", get(f"{LEASES}/a", accept="text/html"), room=FIVE),
    case("a path that is no resource", get("/api/v1/namespaces/<ns>/nothings"), get("/apis/nothing.example/v1/things")),
    case("a group that does not exist", get("/apis/nothing.example"), get("/apis/apps/v9"), get("/nowhere")),
    case("a subresource that does not exist", get(f"{LEASES}/a/status"), get(f"{LEASES}/a/b/c"), room=FIVE),
    case("a status of its own", post(SERVICES, service()), get(f"{SERVICES}/web/status")),
)

LISTS = (
    case("a list of nothing", get(LEASES)),
    case("a list in a namespace that does not exist", get("/apis/coordination.k8s.io/v1/namespaces/no-such-namespace/leases")),
    case("a list of all namespaces by name", get("/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.namespace=<ns>"), room=FIVE),
    case("a list of metadata only", get(LEASES, accept=PARTIAL_LIST), room=FIVE),
    case("a list of metadata, asked for with the word for one", get(LEASES, accept=PARTIAL), room=FIVE),
    case("a list of lists", get(LEASES, keep="l"), get(f"{LEASES}?resourceVersion=<l.rv>"), room=FIVE),
    *map(
        listed,
        (
            "resourceVersion=",
            "resourceVersion=0",
            "resourceVersion=1",
            "resourceVersion=x",
            "resourceVersion=-1",
            f"resourceVersion={FUTURE}",
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch=Exact",
            "resourceVersion=1&resourceVersionMatch=Sometimes",
            "limit=2&resourceVersion=0",
            "limit=5",
            "limit=6",
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=2&labelSelector=app=web",
            "continue=garbage",
            "continue=garbage&limit=2",
            "continue=garbage&resourceVersion=1",
            "sendInitialEvents=true",
            "timeoutSeconds=x",
            "nonsense=true",
        ),
    ),
    case(
        "pages",
        get(f"{LEASES}?limit=2", keep="one"),
        get(f"{LEASES}?limit=2&continue=<one.continue>", keep="two"),
        get(f"{LEASES}?limit=2&continue=<two.continue>"),
        get(f"{LEASES}?continue=<one.continue>"),
        room=FIVE,
    ),
    case(
        "a page that asks for a revision as well",
        get(f"{LEASES}?limit=2", keep="one"),
        get(f"{LEASES}?limit=2&continue=<one.continue>&resourceVersion=<one.rv>"),
        get(f"{LEASES}?limit=2&continue=<one.continue>&resourceVersion=0"),
        get(f"{LEASES}?limit=2&continue=<one.continue>&resourceVersion=0&resourceVersionMatch=NotOlderThan"),
        room=FIVE,
    ),
    case(
        "a page of another collection",
        get(f"{LEASES}?limit=2", keep="one"),
        get(f"{SERVICES}?limit=2&continue=<one.continue>"),
        get(f"{LEASES}?limit=2&continue=<one.continue>&labelSelector=app=web"),
        room=FIVE,
    ),
    case(
        "pages that show the past",
        *[post(LEASES, labelled(name)) for name in "abcd"],
        get(f"{LEASES}?limit=2", keep="one"),
        delete(f"{LEASES}/c"),
        patch(f"{LEASES}/d", {"metadata": {"labels": {"changed": "yes"}}}),
        post(LEASES, labelled("e")),
        get(f"{LEASES}?limit=2&continue=<one.continue>"),
        get(LEASES),
    ),
    case(
        "a list of an exact revision",
        *[post(LEASES, labelled(name)) for name in "ab"],
        get(LEASES, keep="before"),
        delete(f"{LEASES}/a"),
        get(f"{LEASES}?resourceVersion=<before.rv>&resourceVersionMatch=Exact"),
        get(f"{LEASES}?resourceVersion=<before.rv>&resourceVersionMatch=NotOlderThan"),
    ),
    case(
        "a page of a past that is forgotten",
        *[post(LEASES, labelled(name)) for name in "abc"],
        get(f"{LEASES}?limit=1", keep="one"),
        delete(f"{LEASES}/b"),
        Compact(),
        get(f"{LEASES}?limit=1&continue=<one.continue>", keep="gone"),
        get(f"{LEASES}?limit=5&continue=<gone.continue>"),
        get(f"{LEASES}?resourceVersion=<one.rv>&resourceVersionMatch=Exact"),
        get(f"{LEASES}?resourceVersion=<one.rv>&resourceVersionMatch=NotOlderThan"),
    ),
)  # fmt: skip


def selected(selector: str) -> Case:
    return case(f"labels {selector}", get(f"{LEASES}?labelSelector={selector}", only=ITEMS), room=FIVE)


ITEMS = ("kind", "metadata", "items", "message", "reason", "code", "details")

LABELS = tuple(
    map(
        selected,
        (
            "app=web", "app==web", "app!=web", "app%20in%20(web,db)", "app%20in%20(db)", "app%20notin%20(db)", "tier", "!tier",
            "tier,app=web", "tier=", "tier!=back", "app=web,tier%20notin%20(front)", "app%20in%20()", "app%20in%20(", "app%20in%20(web",
            "app%20is%20web", "=web", "app=web,", ",", "app%3E1", "app=we%20b", "UPPER/lower=1", "a/b/c=1", "app=-x", "app=" + "x" * 64,
        ),
    )
)  # fmt: skip


def fields(kind: str, path: str, selector: str, room: Room | None = None) -> Case:
    # A Pod is stored here and not completed; its own module asks about what is.
    leave_out = ("items.spec", "items.status") if kind == "pods" else ()
    return case(
        f"fields of {kind}: {selector}", get(f"{path}?fieldSelector={selector}", leave_out=leave_out), room=room
    )


MIXED = Room(
    name="kinds with fields",
    prepare=(
        post(PODS, pod("one", nodeName="fidelity-node")),
        post(PODS, pod("two")),
        post(SECRETS, named("v1", "Secret", "plain", data={"k": "dg=="})),
        post(SECRETS, named("v1", "Secret", "basic", type="kubernetes.io/basic-auth", stringData={"username": "u"})),
        post(EVENTS, event("first", type="Warning", reason="Lost")),
        post(EVENTS, event("second")),
        post(CONFIG_MAPS, config_map("thing", data={"a": "1"})),
        post(SERVICES, service("web")),
    ),
)

FIELDS = (
    fields("leases", LEASES, "metadata.name=c", FIVE),
    fields("leases", LEASES, "metadata.name==c", FIVE),
    fields("leases", LEASES, "metadata.name!=c", FIVE),
    fields("leases", LEASES, "metadata.name=c,metadata.namespace=<ns>", FIVE),
    fields("leases", LEASES, "metadata.namespace=other", FIVE),
    fields("leases", LEASES, "spec.holderIdentity=x", FIVE),
    fields("leases", LEASES, "metadata.labels=x", FIVE),
    fields("leases", LEASES, "metadata.name", FIVE),
    fields("leases", LEASES, "metadata.name%20in%20(a)", FIVE),
    fields("pods", PODS, "spec.nodeName=fidelity-node", MIXED),
    fields("pods", PODS, "spec.nodeName=", MIXED),
    fields("pods", PODS, "status.phase=Pending,metadata.name=two", MIXED),
    fields("pods", PODS, "status.phase!=Pending", MIXED),
    fields("pods", PODS, "spec.containers=x", MIXED),
    fields("secrets", SECRETS, "type=kubernetes.io/basic-auth", MIXED),
    fields("secrets", SECRETS, "type=Opaque,metadata.name=plain", MIXED),
    fields("events", EVENTS, "involvedObject.name=thing,reason=Lost", MIXED),
    fields("events", EVENTS, "type=Warning", MIXED),
    fields("events", EVENTS, "involvedObject.kind=Pod", MIXED),
    fields("events", EVENTS, "message=x", MIXED),
    fields("config maps", CONFIG_MAPS, "data.a=1", MIXED),
    fields("services", SERVICES, "metadata.name=web", MIXED),
    fields("services", SERVICES, "spec.type=LoadBalancer", MIXED),
    fields("services", SERVICES, "spec.clusterIP=None", MIXED),
    fields("nodes", NODES, "spec.unschedulable=true,metadata.name=no-such-node"),
    fields("nodes", NODES, "status.phase=x"),
    fields("namespaces", NAMESPACES, "status.phase=Terminating,metadata.name=no-such-namespace"),
    fields("namespaces", NAMESPACES, "metadata.name=kube-public,status.phase=Active"),
)

NO_CELLS = ("rows.cells", "columnDefinitions.description")
THING = f"{CONFIG_MAPS}?fieldSelector=metadata.name=thing"
TABLES = (
    case("a table of config maps", get(THING, accept=TABLE, leave_out=NO_CELLS), room=MIXED),
    case("a table of services", get(SERVICES, accept=TABLE, leave_out=NO_CELLS), room=MIXED),
    case("a table of secrets", get(SECRETS, accept=TABLE, leave_out=NO_CELLS), room=MIXED),
    case(
        "a table without objects", get(f"{SERVICES}?includeObject=None", accept=TABLE, leave_out=NO_CELLS), room=MIXED
    ),
    case(
        "a table of whole objects",
        get(f"{SERVICES}?includeObject=Object", accept=TABLE, leave_out=NO_CELLS),
        room=MIXED,
    ),
    case("a table that includes nonsense", get(f"{SERVICES}?includeObject=Some", accept=TABLE), room=MIXED),
    case("a table of a version nobody has", get(SERVICES, accept=TABLE.replace("v1", "v9")), room=MIXED),
    case("a table, else JSON", get(f"{LEASES}/none", accept=f"{TABLE},application/json"), room=MIXED),
)

CASES: tuple[Case, ...] = (*GETS, *LISTS, *LABELS, *FIELDS, *TABLES)

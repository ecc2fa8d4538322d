# SPDX-License-Identifier: Apache-2.0
"""WATCH: from which revision, which events, which bookmarks, which ends. Bookmarks come when the server likes, so they are
counted only where a case asks for them."""

from __future__ import annotations

from tests.fidelity.cases.objects import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    SLICES,
    crd,
    labelled,
    lease,
    named,
    service,
    version,
)
from tests.fidelity.steps import (
    Case,
    Compact,
    From,
    Open,
    Room,
    Wait,
    case,
    delete,
    events,
    get,
    patch,
    post,
    put,
    watch,
)

ONE = Room(name="one lease", prepare=(post(LEASES, labelled("a", app="web")),))
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
FUTURE = "999999999999"
LABEL_A = {"metadata": {"labels": {"app": "web"}}}
NO_LABEL = {"metadata": {"labels": {"app": None}}}
BOOKMARKS = "allowWatchBookmarks=true"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"


def refused(query: str) -> Case:
    """A watch whose first answer is the whole story: it has a second to say something."""
    return case(f"a watch with {query}", watch(f"{LEASES}?{query}&timeoutSeconds=1"), room=ONE)


STARTS = (
    case("a watch without a revision", watch(f"{LEASES}?timeoutSeconds=1"), events(), room=ONE),
    case("a watch of revision 0", watch(f"{LEASES}?resourceVersion=0&timeoutSeconds=1"), events(), room=ONE),
    case("a watch of an empty collection", watch(f"{LEASES}?timeoutSeconds=1"), events()),
    case(
        "a watch from a list",
        get(LEASES, keep="l"),
        watch(f"{LEASES}?resourceVersion=<l.rv>"),
        post(LEASES, labelled("b")),
        patch(f"{LEASES}/b", {"spec": {"holderIdentity": "me"}}),
        delete(f"{LEASES}/b"),
        events(3),
    ),
    case(
        "a watch from the past",
        get(LEASES, keep="l"),
        post(LEASES, labelled("b")),
        patch(f"{LEASES}/b", LABEL_A),
        delete(f"{LEASES}/b"),
        watch(f"{LEASES}?resourceVersion=<l.rv>"),
        events(3),
    ),
    case(
        "a watch of a past that is forgotten",
        get(LEASES, keep="l"),
        post(LEASES, labelled("b")),
        Compact(),
        watch(f"{LEASES}?resourceVersion=<l.rv>"),
        events(),
        watch(f"{LEASES}?resourceVersion=1", name="one"),
        events(name="one"),
        watch(f"{LEASES}?resourceVersion=1&{INITIAL}&{BOOKMARKS}&timeoutSeconds=1", name="list"),
        events(2, name="list"),
    ),
    case("a watch of a revision to come is silent", watch(f"{LEASES}?resourceVersion={FUTURE}&timeoutSeconds=1"), events(), room=ONE),
    case("a watch ends when it was told to", watch(f"{LEASES}?timeoutSeconds=2"), events(lasting=(1.0, 4.0)), room=ONE),
    *map(
        refused,
        (
            "resourceVersion=x",
            "resourceVersion=-1",
            "resourceVersionMatch=NotOlderThan",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "sendInitialEvents=true",
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            "sendInitialEvents=x&resourceVersionMatch=NotOlderThan",
            "labelSelector=a%20in%20(",
            "fieldSelector=spec.holderIdentity=x",
            "allowWatchBookmarks=x",
            "limit=x",
        ),
    ),
    case("a watch whose timeout is no number", watch(f"{LEASES}?timeoutSeconds=x"), room=ONE),
    case("a watch of a kind that does not exist", watch("/apis/<group>/v1/namespaces/<ns>/things")),
    case("a watch that says watch=1", Open(watch="w", path=f"{LEASES}?watch=1&timeoutSeconds=1"), events(), room=ONE),
    case("a watch of one object by its path", get(f"{LEASES}/a?watch=true&timeoutSeconds=1"), room=ONE),
    case("a watch of one object by its name", watch(f"{LEASES}?fieldSelector=metadata.name=a&timeoutSeconds=1"), events(), room=ONE),
    case("a watch of all namespaces", watch("/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.namespace=<ns>&timeoutSeconds=1"), events(), room=ONE),
    case("a watch by the old path", watch("/apis/coordination.k8s.io/v1/watch/namespaces/<ns>/leases?timeoutSeconds=1"), events(), room=ONE),
)  # fmt: skip

CHANGES = (
    case(
        "what comes into a selection and leaves it",
        post(LEASES, labelled("a")),
        get(LEASES, keep="l"),
        watch(f"{LEASES}?resourceVersion=<l.rv>&labelSelector=app=web"),
        patch(f"{LEASES}/a", LABEL_A),
        patch(f"{LEASES}/a", {"metadata": {"labels": {"more": "yes"}}}),
        patch(f"{LEASES}/a", NO_LABEL),
        patch(f"{LEASES}/a", {"metadata": {"labels": {"more": "no"}}}),
        patch(f"{LEASES}/a", LABEL_A),
        delete(f"{LEASES}/a"),
        events(5),
    ),
    case(
        "a write that changes nothing makes no event",
        post(LEASES, labelled("a", app="web"), keep="a"),
        watch(f"{LEASES}?resourceVersion=<a.rv>"),
        patch(f"{LEASES}/a", LABEL_A),
        put(f"{LEASES}/a", From("a")),
        patch(f"{LEASES}/a", {"metadata": {"labels": {"last": "one"}}}),
        events(1),
    ),
    case(
        "the last state of what a finalizer held",
        post(LEASES, lease("a", metadata={"finalizers": ["purelb.io/hold"]}), keep="a"),
        watch(f"{LEASES}?resourceVersion=<a.rv>"),
        delete(f"{LEASES}/a"),
        patch(f"{LEASES}/a", {"metadata": {"finalizers": None}}),
        events(2),
    ),
    case(
        "events of a status",
        post(SERVICES, service(), keep="web"),
        watch(f"{SERVICES}?resourceVersion=<web.rv>"),
        patch(f"{SERVICES}/web/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
        events(1),
    ),
    case(
        "metadata only",
        post(LEASES, labelled("a"), keep="a"),
        watch(f"{LEASES}?timeoutSeconds=9", accept=PARTIAL),
        patch(f"{LEASES}/a", LABEL_A),
        delete(f"{LEASES}/a"),
        events(3),
    ),
    case(
        "tables",
        post(LEASES, labelled("a"), keep="a"),
        watch(f"{LEASES}?timeoutSeconds=9", accept=TABLE),
        patch(f"{LEASES}/a", LABEL_A),
        delete(f"{LEASES}/a"),
        events(3, leave_out=("object.rows.cells", "object.columnDefinitions.description")),
    ),
    case(
        "the two versions of a custom resource",
        post(CRD_PATH := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
             crd("things", [version("v1", storage=False), version("v2")], kind="Thing"), only=("kind",)),
        get("/apis/<group>/v1/namespaces/<ns>/things", until={"status": 200}, only=("kind",)),
        get("/apis/<group>/v2/namespaces/<ns>/things", until={"status": 200}, only=("kind",)),
        watch("/apis/<group>/v1/namespaces/<ns>/things?timeoutSeconds=9"),
        post("/apis/<group>/v2/namespaces/<ns>/things", named("<group>/v2", "Thing", "x", spec={})),
        events(1),
    ),
    case(
        "a definition that is deleted under a watch",
        post(CRD_PATH, crd("things", [version()], kind="Thing"), only=("kind",)),
        get("/apis/<group>/v1/namespaces/<ns>/things", until={"status": 200}, only=("kind",)),
        post("/apis/<group>/v1/namespaces/<ns>/things", named("<group>/v1", "Thing", "x", spec={}), keep="x"),
        watch("/apis/<group>/v1/namespaces/<ns>/things?resourceVersion=<x.rv>"),
        delete(f"{CRD_PATH}/things.<group>", only=("kind",)),
        events(leave_out=("object.metadata.generation",)),
        get("/apis/<group>/v1/namespaces/<ns>/things", until={"status": 404}),
    ),
)  # fmt: skip

MARKS = (
    # The real server sends a last bookmark two seconds before the end, in a timer of its own that may be later than the end.
    case(
        "a watch that asked for bookmarks ends when it was told to",
        get(LEASES, keep="l"),
        post(LEASES, labelled("a")),
        watch(f"{LEASES}?resourceVersion=<l.rv>&{BOOKMARKS}&timeoutSeconds=4"),
        events(bookmarks=False, lasting=(3.0, 6.0)),
    ),
    case(
        "a bookmark each minute",
        get(LEASES, keep="l"),
        watch(f"{LEASES}?resourceVersion=<l.rv>&{BOOKMARKS}&timeoutSeconds=300"),
        post(LEASES, labelled("a")),
        events(1),
        Wait(seconds=54),
        events(1, lasting=(58.0, 64.0)),
        patch(f"{LEASES}/a", LABEL_A),
        events(1),
        Wait(seconds=54),
        events(1, lasting=(118.0, 126.0)),
    ),
    case(
        "no bookmarks unless they were asked for",
        get(LEASES, keep="l"),
        post(LEASES, labelled("a")),
        watch(f"{LEASES}?resourceVersion=<l.rv>&timeoutSeconds=4"),
        events(),
    ),
    case("initial events, then their bookmark", watch(f"{LEASES}?{INITIAL}&{BOOKMARKS}&timeoutSeconds=9"), events(2), room=ONE),
    case("initial events of nothing", watch(f"{LEASES}?{INITIAL}&{BOOKMARKS}&timeoutSeconds=9"), events(1)),
    case("initial events of revision 0", watch(f"{LEASES}?resourceVersion=0&{INITIAL}&{BOOKMARKS}&timeoutSeconds=9"), events(2), room=ONE),
    case("initial events of revision 1", watch(f"{LEASES}?resourceVersion=1&{INITIAL}&{BOOKMARKS}&timeoutSeconds=9"), events(2), room=ONE),
    case("initial events of a revision to come", watch(f"{LEASES}?resourceVersion={FUTURE}&{INITIAL}&{BOOKMARKS}&timeoutSeconds=9"), events(lasting=(0.0, 1.0)), room=ONE),
    *(
        case(f"the bookmark of no {path.rpartition('/')[2]}", watch(f"{path}?{INITIAL}&{BOOKMARKS}&labelSelector=no=such&timeoutSeconds=9"), events(1))
        for path in (SERVICES, SLICES, EVENTS, PODS, CONFIG_MAPS, NODES, NAMESPACES)
    ),
    case("initial events without bookmarks", watch(f"{LEASES}?{INITIAL}&timeoutSeconds=1"), events(), room=ONE),
    case("initial events of a selection", watch(f"{LEASES}?{INITIAL}&{BOOKMARKS}&labelSelector=app=db&timeoutSeconds=9"), events(1), room=ONE),
    case("initial events of metadata only", watch(f"{LEASES}?{INITIAL}&{BOOKMARKS}&timeoutSeconds=9", accept=PARTIAL), events(2), room=ONE),
    case(
        "initial events, then what happens",
        post(LEASES, labelled("a")),
        watch(f"{LEASES}?{INITIAL}&{BOOKMARKS}"),
        events(2),
        post(LEASES, labelled("b")),
        delete(f"{LEASES}/a"),
        events(2),
    ),
    case(
        "no initial events, although a revision is absent",
        post(LEASES, labelled("a")),
        watch(f"{LEASES}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=9"),
        post(LEASES, labelled("b")),
        events(1),
    ),
)  # fmt: skip

CASES: tuple[Case, ...] = (*STARTS, *CHANGES, *MARKS)

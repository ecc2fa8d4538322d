# SPDX-License-Identifier: Apache-2.0
"""What is said when the API server is away, too old, without our kinds or without our rights."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.errors import Forbidden, NotFound
from purelb.kube.model import PartialObject
from purelb.kube.resources import Access, Resource
from purelb.process.component import CannotStart
from purelb.process.preflight import Needs, Preflight, questions
from tests.kube.scripted import Call, Scripted, client_over
from tests.virtual_clock import VirtualClock

GROUPS = Resource(
    group="purelb.io",
    version="v2",
    plural="servicegroups",
    kind="ServiceGroup",
    namespaced=True,
    type=PartialObject,
    metadata_only=True,
)
ROWS = (
    Access(resource="services", subresource="status", verbs=("patch",), reason="publish addresses"),
    Access(
        group="coordination.k8s.io",
        resource="leases",
        verbs=("create", "patch"),
        namespaces=("purelb-system",),
        names=("purelb-allocator",),
        reason="lead",
    ),
)


def token_of(subject: str) -> str:
    """A token as the API server signs them, for who does not look at the signature."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


NEEDS = Needs(who="allocator", rows=ROWS, kinds=(GROUPS,))


class Server:
    """What the API server is like, as each request finds it."""

    def __init__(self) -> None:
        self.version: object = {"major": "1", "minor": "34"}
        self.group: object = None  # what it says of our group, instead of the truth
        self.kinds = ["servicegroups"]
        self.allowed = True
        self.reviews = True
        self.asked: list[dict[str, str]] = []
        self.away = False
        self.user: str | None = None
        self.may_read_namespaces = True

    def respond(self, call: Call) -> None:
        if self.away:
            call.fail("refused")
        elif call.path == "/forbidden":
            call.refuse(403, "Forbidden")
        elif call.path in {"/apis/purelb.io/v2/servicegroups", "/apis/purelb.io/v2/namespaces/ns/servicegroups/gone"}:
            call.refuse(404, "NotFound")
        elif call.path == "/version":
            call.reply(self.version)
        elif call.path == "/apis/purelb.io/v2":
            call.reply(self.group or {"resources": [{"name": name} for name in self.kinds]})
        elif call.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews":
            if self.user is None:
                call.refuse(404, "NotFound")
            else:
                call.reply({"kind": "SelfSubjectReview", "status": {"userInfo": {"username": self.user}}}, status=201)
        elif call.path.startswith("/api/v1/namespaces/"):
            call.refuse(*((404, "NotFound") if self.may_read_namespaces else (403, "Forbidden")))
        elif call.path == "/api/v1/nodes/n1" or not self.reviews:
            call.refuse(404, "NotFound")
        else:
            self.asked.append(call.json["spec"]["resourceAttributes"])
            call.reply({"kind": "SelfSubjectAccessReview", "status": {"allowed": self.allowed}}, status=201)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def client(server: Server, clock: VirtualClock) -> AsyncIterator[ApiClient]:
    async with client_over(Scripted(server.respond), clock) as made:
        yield made


@pytest.fixture
def preflight(client: ApiClient, clock: VirtualClock) -> Preflight:
    return Preflight(client, needs=NEEDS, clock=clock)


@asynccontextmanager
async def running(preflight: Preflight, clock: VirtualClock) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(preflight.run())
        await clock.settle()
        yield task
        task.cancel()


async def test_a_server_with_everything_passes_and_is_asked_no_more(
    preflight: Preflight, server: Server, clock: VirtualClock
) -> None:
    assert preflight.checks == {"access": "the API server was not asked yet"}
    async with running(preflight, clock):
        assert preflight.checks == {"access": None}
        assert server.asked[0] == {"verb": "patch", "resource": "services", "subresource": "status"}
        count = len(server.asked)
        await clock.advance(3600.0)
        assert len(server.asked) == count


async def test_a_right_that_is_taken_away_is_named_after_the_first_refusal(
    preflight: Preflight, server: Server, clock: VirtualClock, client: ApiClient
) -> None:
    async with running(preflight, clock):
        await clock.advance(600.0)
        server.allowed = False
        await clock.advance(600.0)
        assert preflight.checks == {"access": None}, "nobody was refused yet"
        with pytest.raises(Forbidden):
            await client.raw("GET", "/forbidden")
        await clock.settle()
        said = preflight.checks["access"]
        assert said is not None
        assert said.startswith("RBAC: allocator may not patch services/status, needed to publish addresses")
        server.allowed = True
        await clock.advance(10.0)
        assert preflight.checks == {"access": None}


async def test_refusals_that_have_another_cause_are_looked_into_once_a_minute_at_most(
    preflight: Preflight, server: Server, clock: VirtualClock, client: ApiClient
) -> None:
    async with running(preflight, clock):
        rounds = len(server.asked)
        for _ in range(300):
            with pytest.raises(Forbidden):
                await client.raw("GET", "/forbidden")
            await clock.advance(1.0)
        assert len(server.asked) == rounds * 6


async def test_a_server_that_is_away_is_waited_for_and_named(
    preflight: Preflight, server: Server, clock: VirtualClock
) -> None:
    server.away = True
    async with running(preflight, clock):
        await clock.advance(10.0)
        said = preflight.checks["access"]
        assert said is not None
        assert said.startswith("waiting for the API server at ")
        server.away = False
        await clock.advance(30.0)
        assert preflight.checks == {"access": None}


async def test_a_password_in_the_address_of_the_server_is_not_shown(server: Server, clock: VirtualClock) -> None:
    server.away = True
    access = fixed_access("http://someone:password@host.example:6443")
    transport = Scripted(server.respond)
    async with ApiClient(access, user_agent="test", clock=clock, transport=transport) as client:
        preflight = Preflight(client, needs=NEEDS, clock=clock)
        async with running(preflight, clock):
            await clock.advance(10.0)
            said = preflight.checks["access"]
            assert said is not None
            assert said.startswith("waiting for the API server at http://host.example:6443: ")
            assert "password" not in said


async def test_a_missing_right_is_named_with_what_it_is_for_and_asked_for_again(
    preflight: Preflight, server: Server, clock: VirtualClock
) -> None:
    server.allowed = False
    async with running(preflight, clock):
        assert preflight.checks["access"] == (
            "RBAC: allocator may not patch services/status, needed to publish addresses; see purelb rbac; "
            "RBAC: allocator may not create leases in namespace purelb-system, needed to lead; see purelb rbac; "
            "RBAC: allocator may not patch leases purelb-allocator in namespace purelb-system, needed to lead; "
            "see purelb rbac"
        )
        server.allowed = True
        await clock.advance(9.0)
        assert preflight.checks["access"] is not None
        await clock.advance(1.0)
        assert preflight.checks == {"access": None}


async def test_each_failure_is_a_line_of_its_own_with_its_check_and_what_to_do(
    preflight: Preflight, server: Server, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    server.kinds, server.allowed = [], False
    caplog.set_level("INFO")
    async with running(preflight, clock):
        pass
    told = [record.__dict__ for record in caplog.records if record.__dict__.get("code") == "selfCheckFailed"]
    assert [(line["check"], line["key"]) for line in told] == [
        ("crds", "servicegroups.purelb.io"),
        ("rbac", "patch services/status"),
        ("rbac", "create leases purelb-system"),
        ("rbac", "patch leases purelb-system/purelb-allocator"),
    ]
    assert {line["hint"] for line in told} == {
        "apply crds/ or run purelb crds --apply",
        "compare with purelb rbac",
    }


@pytest.mark.parametrize(
    ("break_it", "hint", "kind"),
    [
        pytest.param(lambda call: call.fail("refused"), "the network", "TransportError", id="nobody listens"),
        pytest.param(
            lambda call: call.fail("tls"), "certificate authority", "TransportError", id="not its certificate"
        ),
        pytest.param(lambda call: call.refuse(401, "Unauthorized"), "token", "Unauthorized", id="it does not know us"),
        pytest.param(lambda call: call.refuse(500, "InternalError"), "API server", "ServerError", id="it is ill"),
    ],
)
async def test_a_server_that_gives_no_answer_is_a_check_of_its_own_with_what_to_look_at(
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[[Call], None],
    hint: str,
    kind: str,
) -> None:
    caplog.set_level("INFO")
    async with client_over(Scripted(break_it), clock) as client:
        async with running(Preflight(client, needs=NEEDS, clock=clock), clock):
            await clock.advance(95.0)
        asked_once = await Preflight(client, needs=NEEDS, clock=clock).once()
    told = [record.__dict__ for record in caplog.records if record.__dict__.get("code") == "selfCheckFailed"]
    assert [(line["check"], line["key"], line["errorType"]) for line in told] == [("api", "http://api.test", kind)] * 8
    assert [line["retryIn"] for line in told] == [1, 2, 4, 8, 16, 30, 30, 30], "as it really is asked again"
    assert all(hint in line["hint"] for line in told)
    assert [(lack.check, lack.error, lack.hint) for lack in asked_once] == [
        ("api", told[0]["error"], told[0]["hint"]),
    ]


async def test_a_kind_that_is_not_served_is_named_with_the_remedy(
    preflight: Preflight, server: Server, clock: VirtualClock
) -> None:
    server.kinds = []
    async with running(preflight, clock):
        assert preflight.checks["access"] == (
            "CRD servicegroups.purelb.io is not served as v2: apply crds/ or run purelb crds --apply"
        )
        server.kinds = ["servicegroups"]
        await clock.advance(10.0)
        assert preflight.checks == {"access": None}


async def listed(client: ApiClient) -> None:
    await client.list_page(GROUPS)


async def watched(client: ApiClient) -> None:
    async with client.watch(GROUPS, rv="7", timeout_s=60):
        pass


@pytest.mark.parametrize("asked", [listed, watched])
async def test_a_kind_that_is_taken_away_is_named_as_soon_as_its_collection_is_not_found(
    preflight: Preflight,
    server: Server,
    clock: VirtualClock,
    client: ApiClient,
    asked: Callable[[ApiClient], Awaitable[None]],
) -> None:
    async with running(preflight, clock):
        await clock.advance(600.0)
        server.kinds = []
        with pytest.raises(NotFound):
            await client.get(GROUPS, "gone", namespace="ns")
        await clock.settle()
        assert preflight.checks == {"access": None}, "one object that is not there proves nothing of its kind"
        with pytest.raises(NotFound):
            await asked(client)
        await clock.settle()
        assert preflight.checks["access"] == (
            "CRD servicegroups.purelb.io is not served as v2: apply crds/ or run purelb crds --apply"
        )
        server.kinds = ["servicegroups"]
        await clock.advance(10.0)
        assert preflight.checks == {"access": None}


async def test_a_server_without_reviews_counts_as_allowing(
    preflight: Preflight, server: Server, clock: VirtualClock
) -> None:
    server.reviews = False
    async with running(preflight, clock):
        assert preflight.checks == {"access": None}


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ({"major": "1", "minor": "24"}, True),
        ({"major": "1", "minor": "25+"}, False),
        ({"major": "", "minor": "x"}, False),
        ({"major": "2", "minor": "0"}, False),
    ],
    ids=["1.24 is too old", "1.25+ is not", "a version of its own making is not judged", "2.0 is not"],
)
async def test_only_a_server_that_is_too_old_ends_the_process(
    preflight: Preflight, server: Server, clock: VirtualClock, version: dict[str, str], old: bool
) -> None:
    server.version = version
    if old:
        with pytest.raises(CannotStart, match=r"Kubernetes 1\.24 is older than 1\.25, the oldest supported") as caught:
            await preflight.run()
        assert caught.value.hint == "upgrade the cluster to 1.25 or newer"
    else:
        async with running(preflight, clock):
            assert preflight.checks == {"access": None}


def test_a_create_is_asked_for_without_a_name_as_the_server_judges_it() -> None:
    asked = [(question.verb, question.name) for question in questions(ROWS)]
    assert asked == [("patch", ""), ("create", ""), ("patch", "purelb-allocator")]


@pytest.mark.parametrize(
    ("user", "token", "named"),
    [
        pytest.param("system:serviceaccount:purelb:allocator", None, "purelb/allocator", id="by the server"),
        pytest.param("jane", None, "jane", id="by the server, a person"),
        pytest.param(None, token_of("system:serviceaccount:lb:agent"), "lb/agent", id="by the token, at an old server"),
        pytest.param(None, "a.b.c", "allocator", id="not at all, by a token that says nothing"),
        pytest.param(None, "opaque", "allocator", id="not at all, by a token that is none of ours"),
        pytest.param(None, None, "allocator", id="not at all, without a token"),
    ],
)
async def test_who_lacks_a_right_is_named(
    server: Server, clock: VirtualClock, user: str | None, token: str | None, named: str
) -> None:
    server.user, server.allowed = user, False
    access = fixed_access("http://host.example", token=token)
    async with ApiClient(access, user_agent="test", clock=clock, transport=Scripted(server.respond)) as client:
        found = await Preflight(client, needs=NEEDS, clock=clock).once()
    assert found[0].error == (
        f"RBAC: {named} may not patch services/status, needed to publish addresses; see purelb rbac"
    )


async def test_asked_once_everything_that_is_missing_is_told(
    client: ApiClient, server: Server, clock: VirtualClock
) -> None:
    needs = Needs(who="the agent", rows=ROWS, kinds=(GROUPS,), namespace="lb", node="n1")
    asking = Preflight(client, needs=needs, clock=clock)
    server.kinds = []
    assert [failed.error for failed in await asking.once()] == [
        "CRD servicegroups.purelb.io is not served as v2: apply crds/ or run purelb crds --apply",
        'Namespace "lb" does not exist: create it, or let PURELB_NAMESPACE be the one that PureLB is installed in',
        'Node "n1" does not exist: PURELB_NODE_NAME must be spec.nodeName',
    ]
    server.version = {"major": "1", "minor": "24"}
    assert [failed.error for failed in await asking.once()] == [
        "Kubernetes 1.24 is older than 1.25, the oldest supported"
    ]
    server.away = True
    (away,) = await asking.once()
    assert away.error.startswith("waiting for the API server at http")


async def test_of_a_namespace_that_may_not_be_read_nothing_is_said(
    client: ApiClient, server: Server, clock: VirtualClock
) -> None:
    """That the right is missing is said already."""
    server.may_read_namespaces = False
    needs = Needs(who="allocator", rows=ROWS, kinds=(GROUPS,), namespace="lb")
    assert await Preflight(client, needs=needs, clock=clock).once() == ()


NONSENSE: dict[str, object] = {
    "a list nested 100 000 deep": b"[" * 100_000,
    "a field nested 100 000 deep": b'{"x":' + b"[" * 100_000,
    "no text": b"\xff\xfe",
    "half a body": b'{"major":"1",',
    "another shape": {"major": 1, "minor": [], "resources": {}},
    "numbers without an end": {"major": "1" * 5000, "minor": "1" * 5000},
    "digits of another script": {"major": "\N{ARABIC-INDIC DIGIT ONE}", "minor": "\N{ARABIC-INDIC DIGIT TWO}"},
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_about_versions_and_kinds_ends_nothing(
    name: str, server: Server, preflight: Preflight, clock: VirtualClock
) -> None:
    server.version = server.group = NONSENSE[name]
    async with running(preflight, clock):
        await clock.settle()
        assert "CRD servicegroups.purelb.io is not served as v2" in (preflight.checks["access"] or "")
        server.version, server.group = {"major": "1", "minor": "34"}, None
        await clock.advance(10.0)
        assert preflight.checks == {"access": None}

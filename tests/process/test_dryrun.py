# SPDX-License-Identifier: Apache-2.0
"""The edges of a dry run: what is told, what is answered, and that nothing passes but reads."""

import msgspec
import pytest

from purelb.kube.transport import Request
from purelb.process.dryrun import Plan
from purelb.process.readonly import ReadOnly, merged
from tests.kube.scripted import Call, Scripted

OWN = "/apis/coordination.k8s.io/v1/namespaces/purelb/leases/purelb-node-n1"


def respond(call: Call) -> None:
    if call.path.endswith("/nowhere"):
        call.refuse(404, "NotFound")
    else:
        call.reply({"metadata": {"name": "web", "resourceVersion": "7"}, "status": {}})


def sending(*, plan: Plan | None = None) -> tuple[ReadOnly, list[str]]:
    sent: list[str] = []

    def note(call: Call) -> None:
        sent.append(f"{call.method} {call.path}")
        respond(call)

    return ReadOnly(Scripted(note), plan=plan or Plan(), own={OWN}), sent


def request(method: str, target: str, body: object = None) -> Request:
    return Request(method=method, target=target, body=b"" if body is None else msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/api/v1/namespaces/shop/services", 201),
        ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events", 201),
        ("PATCH", "/apis/events.k8s.io/v1/namespaces/shop/events/web.1", 200),
        ("PUT", "/api/v1/namespaces/shop/services/web", 405),
        ("DELETE", "/api/v1/namespaces/shop/services/web", 405),
        ("DELETE", "/api/v1/namespaces/shop/services", 405),
    ],
)
async def test_no_write_is_sent(method: str, target: str, status: int) -> None:
    transport, sent = sending()
    answer = await transport.exchange(request(method, target, {"metadata": {"name": "web"}}))
    assert answer.status == status
    assert sent == []


@pytest.mark.parametrize(
    ("target", "object_", "line"),
    [
        (
            "/api/v1/namespaces/shop/services/web/status?fieldManager=x",
            "/api/v1/namespaces/shop/services/web",
            "patch services/status shop/web {}",
        ),
        ("/api/v1/nodes/n1", "/api/v1/nodes/n1", "patch nodes n1 {}"),
        ("/api/v1/namespaces/shop/status", "/api/v1/namespaces/shop", "patch namespaces/status shop {}"),
    ],
)
async def test_a_patch_is_told_and_answered_with_the_object_as_it_is(target: str, object_: str, line: str) -> None:
    plan = Plan()
    transport, sent = sending(plan=plan)
    answer = await transport.exchange(request("PATCH", target, {}))
    assert sent == [f"GET {object_}"]
    assert msgspec.json.decode(answer.body)["metadata"]["resourceVersion"] == "7"
    assert plan.lines() == (line,)


async def test_a_patch_of_what_is_not_there_is_not_told() -> None:
    plan = Plan()
    transport, _ = sending(plan=plan)
    assert (await transport.exchange(request("PATCH", "/api/v1/nodes/nowhere", {}))).status == 404
    assert plan.lines() == ()


async def test_what_only_this_process_writes_is_kept_here_and_nobody_elses_copy_is_seen() -> None:
    plan = Plan()
    transport, sent = sending(plan=plan)
    assert (await transport.exchange(request("GET", OWN))).status == 404
    assert (await transport.exchange(request("PATCH", OWN, {"spec": {}}))).status == 404
    body = {"metadata": {"name": "purelb-node-n1"}, "spec": {"a": 1}}
    await transport.exchange(request("POST", OWN.rpartition("/")[0], body))
    await transport.exchange(request("PATCH", OWN, {"spec": {"a": None, "b": 2}}))
    kept = msgspec.json.decode((await transport.exchange(request("GET", OWN))).body)
    assert (kept["spec"], kept["metadata"]["resourceVersion"]) == ({"b": 2}, "2")
    assert (await transport.exchange(request("DELETE", OWN))).status == 200
    assert (await transport.exchange(request("GET", OWN))).status == 404
    assert (sent, plan.lines()) == ([], ())


async def test_questions_about_rights_are_asked() -> None:
    transport, sent = sending()
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    await transport.exchange(request("POST", path, {}))
    assert sent == [f"POST {path}"]


def test_a_merge_patch_removes_replaces_and_descends() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": {"f": None}}, "d": [2]}) == {
        "a": {"c": 2, "e": {}},
        "d": [2],
    }


def test_a_plan_that_is_printed_says_what_is_news_and_one_that_is_kept_what_is_left() -> None:
    told: list[str] = []
    printed, kept = Plan(told.append), Plan()
    for plan in (printed, kept):
        plan.say("b", "+ b")
        plan.say("b", "+ b")
        plan.say("a", "+ a at noon", same="+ a")
        plan.say("a", "+ a at one", same="+ a")
        plan.say("b", "- b", undone=True)
        plan.say("b", "+ b")
        plan.say("a", "- a", undone=True)
    assert told == ["+ b", "+ a at noon", "- b", "+ b", "- a"]
    assert kept.lines() == ("+ b",)

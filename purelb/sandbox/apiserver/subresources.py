# SPDX-License-Identifier: Apache-2.0
"""The two subresources that are calls and not parts of an object: a ServiceAccount's token, a Pod's binding."""

from collections.abc import Mapping

from purelb.sandbox.apiserver.answers import Refusal, bad_request, invalid, invalid_object, method_not_allowed
from purelb.sandbox.apiserver.bodies import Body
from purelb.sandbox.apiserver.exchange import ApiRequest, ApiResponse, answer
from purelb.sandbox.apiserver.negotiation import body_of
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.writes import Writes


def grant_token(state: State, request: ApiRequest, target: Target, now: float) -> ApiResponse:
    """`TokenRequest`: a token of a ServiceAccount, bound to a Pod and its node if it says so."""
    if request.method != "POST":
        raise method_not_allowed()
    account = state.get(target.kind, (target.namespace or "", target.name or ""))
    if account is None:
        raise Refusal(404, "NotFound", f'serviceaccounts "{target.name}" not found')
    asked = body_of(request, {}).value
    spec = asked.get("spec") if isinstance(asked, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    seconds = spec.get("expirationSeconds") or 3600
    if not isinstance(seconds, int) or not 600 <= seconds <= 2**32:
        wrong = invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        raise invalid_object("TokenRequest", "authentication.k8s.io", "", [wrong])
    bound = spec.get("boundObjectRef")
    bound = bound if isinstance(bound, dict) else {}
    pod = (
        state.store.get("pods", (target.namespace or "", str(bound.get("name"))))
        if bound.get("kind") == "Pod"
        else None
    )
    token = state.tokens.issue(
        namespace=target.namespace or "",
        account=target.name or "",
        account_uid=account.uid,
        pod=pod.key[1] if pod is not None else "",
        pod_uid=pod.uid if pod is not None else "",
        node=str((pod.decode().get("spec") or {}).get("nodeName", "")) if pod is not None else "",
        expires_at=now + seconds,
    )
    made = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "creationTimestamp": state.stamp(now),
        },
        "spec": spec | {"audiences": spec.get("audiences") or [], "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": state.stamp(now + seconds)},
    }
    return answer(201, made)


def bind(writes: Writes, request: ApiRequest, target: Target, query: Mapping[str, str], now: float) -> ApiResponse:
    """`Binding`: a Pod gets its node."""
    wanted = body_of(request, {}).value
    place = wanted.get("target") if isinstance(wanted, dict) else None
    node = place.get("name") if isinstance(place, dict) else None
    if request.method != "POST" or not isinstance(node, str):
        raise bad_request("a Binding names its node in target.name")
    pod = Target(kind=target.kind, group="", version="v1", namespace=target.namespace, name=target.name)
    writes.patch(pod, "application/merge-patch+json", Body({"spec": {"nodeName": node}}), query, now)
    return answer(201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})

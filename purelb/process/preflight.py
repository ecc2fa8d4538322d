# SPDX-License-Identifier: Apache-2.0
"""What must be true of the API server: reachable, new enough, our kinds served, our rights granted.

It gates nothing: informers wait and come back by themselves. It exists to say why they wait, in readiness and in the log,
because "403" on a list names neither what the right is for nor how to grant it. While something is missing it asks again every
ten seconds. Once everything passed it asks only after the server refused one of our requests, or knew nothing of what we list or
watch, since that is how a right or a kind that is taken away shows; and at most once a minute: an Event for a namespace that ends is
refused as well. Only a server that is too old ends the process.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, Literal, Never

import msgspec
from msgspec import Struct

from purelb.kube.bell import Bell
from purelb.kube.credentials import subject
from purelb.kube.errors import ApiError, DecodeError, Forbidden, KubeError, NotFound, TransportError, Unauthorized
from purelb.kube.failures import failure
from purelb.kube.resources import ACCESS_REVIEWS, NAMESPACES, NODES, SELF_REVIEWS, Access, Resource
from purelb.process.component import CannotStart
from purelb.process.logs import bare_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock

log = logging.getLogger(__name__)

OLDEST: Final = (1, 25)
AGAIN_AFTER: Final = 10.0
DOUBT_EVERY: Final = 60.0
UNREACHABLE_FIRST: Final = 1.0
UNREACHABLE_CAP: Final = 30.0


_UNREADABLE: Final = (ValueError, RecursionError)
"""How the decoder answers what is no JSON, what is no text, what has another shape, and what nests too deeply."""


class _Version(Struct):
    major: str = ""
    minor: str = ""


class _Served(Struct):
    name: str = ""


class _ServedList(Struct):
    resources: list[_Served] | None = None


class Question(Struct, frozen=True):
    """One right to ask for: what the server is asked, and the row it comes from."""

    verb: str
    namespace: str
    name: str
    row: Access

    def attributes(self) -> Mapping[str, str]:
        """`resourceAttributes` of a SelfSubjectAccessReview."""
        asked = {
            "verb": self.verb,
            "group": self.row.group,
            "resource": self.row.resource,
            "subresource": self.row.subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {name: text for name, text in asked.items() if text}


def questions(rows: Iterable[Access]) -> Iterator[Question]:
    """Each right of the table by itself. A `create` is asked without a name, which the server does not know either."""
    for row in rows:
        for verb in row.verbs:
            for namespace in row.namespaces or ("",):
                for name in row.names or ("",):
                    yield Question(verb, namespace, "" if verb == "create" else name, row)


def refusal(question: Question, *, who: str) -> str:
    """The sentence about a right that is missing."""
    row = question.row
    resource = f"{row.resource}/{row.subresource}" if row.subresource else row.resource
    resource += f" {question.name}" if question.name else ""
    where = f" in namespace {question.namespace}" if question.namespace else ""
    reason = f", needed to {row.reason}" if row.reason else ""
    return f"RBAC: {who} may not {question.verb} {resource}{where}{reason}; see purelb rbac"


class Lack(Struct, frozen=True):
    """What is missing at the API server. `text`: the whole sentence; `about`: what tells it from others of its check.

    `kind`: the class of the error, where there was one.
    """

    check: Literal["api", "crds", "rbac", "namespace", "node"]
    text: str
    hint: str
    about: str
    kind: str | None = None


def no_right(question: Question, *, who: str) -> Lack:
    row = question.row
    resource = "/".join(part for part in (row.resource, row.subresource) if part)
    where = "/".join(part for part in (question.namespace, question.name) if part)
    about = f"{question.verb} {resource} {where}".rstrip()
    return Lack("rbac", refusal(question, who=who), "compare with purelb rbac", about)


def no_kind(kind: Resource[Any]) -> Lack:
    hint = "apply crds/ or run purelb crds --apply"
    return Lack("crds", f"CRD {kind.name} is not served as {kind.version}: {hint}", hint, kind.name)


def no_node(name: str) -> Lack:
    hint = "PURELB_NODE_NAME must be spec.nodeName"
    return Lack("node", f'Node "{name}" does not exist: {hint}', hint, name)


def no_namespace(name: str) -> Lack:
    hint = "create it, or let PURELB_NAMESPACE be the one that PureLB is installed in"
    return Lack("namespace", f'Namespace "{name}" does not exist: {hint}', hint, name)


def no_answer(error: KubeError, *, server: str) -> Lack:
    """The server is away, or does not know us."""
    match error:
        case Unauthorized():
            hint = "its token or client certificate is not accepted: look at the ServiceAccount or the kubeconfig"
        case TransportError(kind="tls"):
            hint = "look at the certificate authority in the ServiceAccount or the kubeconfig, and at the server's name"
        case TransportError():
            hint = "look at the API server, its address and the network on the way there"
        case _:
            hint = "look at the API server"
    text = bare_urls(f"waiting for the API server at {server}: {error}")
    return Lack("api", text, hint, bare_urls(server), type(error).__name__)


def account(user: str) -> str:
    """A user as people name it: `namespace/name` of a ServiceAccount."""
    return (
        user.removeprefix("system:serviceaccount:").replace(":", "/")
        if user.startswith("system:serviceaccount:")
        else user
    )


class Needs(Struct, frozen=True, kw_only=True):
    """What one component needs of the API server. `who`: how it is called where its account is not known."""

    who: str
    rows: tuple[Access, ...]
    kinds: tuple[Resource[Any], ...]
    namespace: str = ""
    """Its install namespace, which has to exist. Only who may read namespaces can ask for it."""
    node: str = ""
    """Its Node, which has to exist."""


class Preflight:
    """The checks of one component. `checks` is what readiness shows: None once everything passed."""

    def __init__(
        self,
        client: ApiClient,
        *,
        needs: Needs,
        clock: Clock,
    ) -> None:
        self._client = client
        self._needs = needs
        self._clock = clock
        self._account: str | None = None
        self.checks: Mapping[str, str | None] = {"access": "the API server was not asked yet"}
        self._doubted = False
        self._bell = Bell(clock)
        client.on_doubt(self._doubt)

    async def run(self) -> Never:
        """Ask until everything passed, and again when that is in doubt. Raises CannotStart when the server is too old."""
        wait = UNREACHABLE_FIRST
        while True:
            try:
                problems = [problem async for problem in self._problems()]
            except KubeError as error:
                self._say([no_answer(error, server=self._client.access.server)], again_in=wait)
                await self._clock.until(self._clock.now() + wait)
                wait = min(UNREACHABLE_CAP, 2 * wait)
                continue
            wait = UNREACHABLE_FIRST
            self._say(problems, again_in=AGAIN_AFTER)
            asked_at = self._clock.now()
            if problems:
                await self._clock.until(asked_at + AGAIN_AFTER)
                continue
            self._doubted = False
            while not self._doubted:
                await self._bell.wait(None)
            await self._clock.until(asked_at + DOUBT_EVERY)

    async def once(self) -> tuple[CannotStart, ...]:
        """All that is missing now, asked once."""
        try:
            problems = [problem async for problem in self._problems()]
            if (namespace := self._needs.namespace) and not await self._exists(NAMESPACES, namespace):
                problems.append(no_namespace(namespace))
            if (node := self._needs.node) and not await self._exists(NODES, node):
                problems.append(no_node(node))
        except CannotStart as failed:
            return (failed,)
        except KubeError as error:
            problems = [no_answer(error, server=self._client.access.server)]
        return tuple(CannotStart(lack.check, lack.text, lack.hint) for lack in problems)

    async def _exists(self, kind: Resource[Any], name: str) -> bool:
        try:
            await self._client.get(kind, name)
        except NotFound:
            return False
        except Forbidden:
            return True  # that the right is missing is said already
        return True

    def _doubt(self) -> None:
        self._doubted = True
        self._bell.ring()

    def _say(self, problems: Sequence[Lack], *, again_in: float) -> None:
        self.checks = {"access": "; ".join(lack.text for lack in problems) or None}
        for lack in problems:
            log.info(
                "%s",
                lack.text,
                extra={
                    "code": "selfCheckFailed",
                    "check": lack.check,
                    "hint": lack.hint,
                    "key": lack.about,
                    **failure(lack.text, kind=lack.kind, retry_in=again_in),
                },
            )

    async def _problems(self) -> AsyncIterator[Lack]:
        await self._old_enough()
        for kind in self._needs.kinds:
            if not await self._is_served(kind):
                yield no_kind(kind)
        for question in questions(self._needs.rows):
            match await self._allowed(question):
                case True:
                    pass
                case False:
                    yield no_right(question, who=await self._whoami())
                case None:  # a server without reviews counts as allowing
                    return

    async def _whoami(self) -> str:
        """The account that lacks a right: as the server knows us, or as our token says, where the server is too old to tell."""
        if self._account is None:
            name = ""
            try:
                body = {"apiVersion": SELF_REVIEWS.api_version, "kind": SELF_REVIEWS.kind}
                review = await self._client.create(SELF_REVIEWS, body)
                name = review.status.user_info.username if review.status is not None else ""
            except (ApiError, DecodeError):
                credentials = self._client.access.credentials
                name = subject(credentials.current(self._clock.now())) or ""
            self._account = account(name) or self._needs.who
        return self._account

    async def _old_enough(self) -> None:
        answer = await self._client.raw("GET", "/version")
        try:
            version = msgspec.json.decode(answer.body, type=_Version)
        except _UNREADABLE:
            return  # a distribution with a version of its own making: its API will show what it can do
        numbers = [re.match(r"[0-9]{1,9}", text) for text in (version.major, version.minor)]
        if all(numbers) and tuple(int(found.group()) for found in numbers if found) < OLDEST:
            shown = f"{version.major}.{version.minor}"
            oldest = ".".join(map(str, OLDEST))
            hint = f"upgrade the cluster to {oldest} or newer"
            raise CannotStart("version", f"Kubernetes {shown} is older than {oldest}, the oldest supported", hint)

    async def _is_served(self, kind: Resource[Any]) -> bool:
        try:
            answer = await self._client.raw("GET", f"/apis/{kind.group}/{kind.version}")
            served = msgspec.json.decode(answer.body, type=_ServedList).resources or ()
        except NotFound:
            return False
        except _UNREADABLE:
            return False
        return any(found.name == kind.plural for found in served)

    async def _allowed(self, question: Question) -> bool | None:
        body = {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": ACCESS_REVIEWS.kind,
            "spec": {"resourceAttributes": question.attributes()},
        }
        try:
            review = await self._client.create(ACCESS_REVIEWS, body)
        except NotFound:
            return None
        except ApiError as error:
            if error.code == 405:
                return None
            raise
        return review.status is not None and review.status.allowed

# SPDX-License-Identifier: Apache-2.0
"""What must be true of the API server: reachable, new enough, our kinds served, our rights granted.

It gates nothing: informers wait and come back by themselves. It exists to say why they wait, in readiness and in the log,
because "403" on a list names neither what the right is for nor how to grant it. While something is missing it asks again every
ten seconds. Once everything passed it asks only after the server refused one of our requests, since that is how a right
that is taken away shows, and at most once a minute: an Event for a namespace that ends is refused as well. Only a server that
is too old ends the process.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, Never

import msgspec
from msgspec import Struct

from purelb.kube.bell import Bell
from purelb.kube.errors import ApiError, KubeError, NotFound
from purelb.kube.failures import failure
from purelb.kube.resources import ACCESS_REVIEWS, Access
from purelb.process.component import CannotStart
from purelb.process.logs import bare_urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.resources import Resource

log = logging.getLogger(__name__)

OLDEST: Final = (1, 25)
AGAIN_AFTER: Final = 10.0
DOUBT_EVERY: Final = 60.0
UNREACHABLE_FIRST: Final = 1.0
UNREACHABLE_CAP: Final = 30.0


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


class Preflight:
    """The checks of one component. `checks` is what readiness shows: None once everything passed."""

    def __init__(
        self,
        client: ApiClient,
        *,
        who: str,
        rows: Sequence[Access],
        kinds: Sequence[Resource[Any]],
        clock: Clock,
    ) -> None:
        self._client = client
        self._who = who
        self._rows = rows
        self._kinds = kinds
        self._clock = clock
        self.checks: Mapping[str, str | None] = {"access": "the API server was not asked yet"}
        self._refused = False
        self._bell = Bell(clock)
        client.on_forbidden(self._doubt)

    async def run(self) -> Never:
        """Ask until everything passed, and again when that is in doubt. Raises CannotStart when the server is too old."""
        wait = UNREACHABLE_FIRST
        while True:
            try:
                problems = [problem async for problem in self._problems()]
            except KubeError as error:
                server = self._client.access.server
                self._say([bare_urls(f"waiting for the API server at {server}: {error}")])
                await self._clock.until(self._clock.now() + wait)
                wait = min(UNREACHABLE_CAP, 2 * wait)
                continue
            wait = UNREACHABLE_FIRST
            self._say(problems)
            asked_at = self._clock.now()
            if problems:
                await self._clock.until(asked_at + AGAIN_AFTER)
                continue
            self._refused = False
            while not self._refused:
                await self._bell.wait(None)
            await self._clock.until(asked_at + DOUBT_EVERY)

    def _doubt(self) -> None:
        self._refused = True
        self._bell.ring()

    def _say(self, problems: Sequence[str]) -> None:
        self.checks = {"access": "; ".join(problems) or None}
        for problem in problems:
            log.info(
                "%s",
                problem,
                extra={
                    "code": "selfCheckFailed",
                    "check": "access",
                    "key": problem,
                    **failure(problem, retry_in=AGAIN_AFTER),
                },
            )

    async def _problems(self) -> AsyncIterator[str]:
        await self._old_enough()
        for kind in self._kinds:
            if not await self._is_served(kind):
                yield f"CRD {kind.name} is not served as {kind.version}: apply crds/ or run purelb crds --apply"
        for question in questions(self._rows):
            match await self._allowed(question):
                case True:
                    pass
                case False:
                    yield refusal(question, who=self._who)
                case None:  # a server without reviews counts as allowing
                    return

    async def _old_enough(self) -> None:
        answer = await self._client.raw("GET", "/version")
        try:
            version = msgspec.json.decode(answer.body, type=_Version)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return  # a distribution with a version of its own making: its API will show what it can do
        numbers = [re.match(r"\d+", text) for text in (version.major, version.minor)]
        if all(numbers) and tuple(int(found.group()) for found in numbers if found) < OLDEST:
            shown = f"{version.major}.{version.minor}"
            oldest = ".".join(map(str, OLDEST))
            raise CannotStart("version", f"Kubernetes {shown} is older than {oldest}, the oldest supported")

    async def _is_served(self, kind: Resource[Any]) -> bool:
        try:
            answer = await self._client.raw("GET", f"/apis/{kind.group}/{kind.version}")
            served = msgspec.json.decode(answer.body, type=_ServedList).resources or ()
        except NotFound:
            return False
        except (msgspec.DecodeError, msgspec.ValidationError):
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

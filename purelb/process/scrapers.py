# SPDX-License-Identifier: Apache-2.0
"""Who may read the metrics, when that is not everybody: whose token the API server knows and whose right it grants.

A TokenReview says who it is, a SubjectAccessReview whether they may `get` the path `/metrics`. A yes is remembered for a minute,
a no for ten seconds, by digest and not by token, of at most 256 tokens; the oldest answer is forgotten first. At most eight
tokens are asked about at a time and each once, whoever else waits for the same; more are told to come again. An API server that
cannot be asked is 503 and never a yes.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct

from purelb.kube import model
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.errors import KubeError
from purelb.kube.failures import failure
from purelb.kube.resources import Access, Resource
from purelb.kube.secret import Secret

log: Final = logging.getLogger(__name__)

YES_FOR_S: Final = 60.0
NO_FOR_S: Final = 10.0
REMEMBERED_MAX: Final = 256
REVIEWS_MAX: Final = 8
TOKEN_MAX_CHARS: Final = 8192
PATH: Final = "/metrics"

ACCESS: Final = (
    Access(
        group="authentication.k8s.io",
        resource="tokenreviews",
        verbs=("create",),
        reason="know who asks for /metrics (--metrics-auth=kubernetes)",
    ),
    Access(
        group="authorization.k8s.io",
        resource="subjectaccessreviews",
        verbs=("create",),
        reason="know whether they may (--metrics-auth=kubernetes)",
    ),
)


def rows(auth: str) -> tuple[Access, ...]:
    """What a process with this `--metrics-auth` needs in addition."""
    return ACCESS if auth == "kubernetes" else ()


class _User(Struct, frozen=True, rename="camel"):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(Struct, frozen=True, rename="camel"):
    authenticated: bool = False
    user: _User | None = None


class TokenReview(Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", tag="TokenReview"):
    """Only what the answer says."""

    metadata: model.ObjectMeta = model.ObjectMeta()
    status: _TokenStatus | None = None


class _AccessStatus(Struct, frozen=True, rename="camel"):
    allowed: bool = False


class SubjectAccessReview(Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", tag="SubjectAccessReview"):
    """Only what the answer says."""

    metadata: model.ObjectMeta = model.ObjectMeta()
    status: _AccessStatus | None = None


TOKEN_REVIEWS: Final = Resource(
    group="authentication.k8s.io",
    version="v1",
    plural="tokenreviews",
    kind="TokenReview",
    namespaced=False,
    type=TokenReview,
)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    group="authorization.k8s.io",
    version="v1",
    plural="subjectaccessreviews",
    kind="SubjectAccessReview",
    namespaced=False,
    type=SubjectAccessReview,
)


class Refused(Struct, frozen=True):
    """The answer to a scraper that may not."""

    status: int
    text: str


Admit = Callable[[str], Awaitable[Refused | None]]

_WHO: Final = Refused(401, "/metrics needs a bearer token that the API server knows")
_NOT_THEM: Final = Refused(403, "the API server does not allow this user to get /metrics")
_BUSY: Final = Refused(503, "too many tokens are being reviewed: come again")
_AWAY: Final = Refused(503, "the API server cannot be asked about this token: come again")


class _Known(Struct, frozen=True):
    answer: Refused | None
    until: float


class Scrapers:
    """`admit` is asked at each scrape. One loop calls it, so a dict is all the state there is."""

    def __init__(self, client: ApiClient, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Future[Refused | None]] = {}

    async def admit(self, authorization: str) -> Refused | None:
        """None for who may read; `authorization` is the header as it came."""
        scheme, _, text = authorization.partition(" ")
        token = Secret(text.strip())
        if scheme.lower() != "bearer" or not text.strip() or len(text) > TOKEN_MAX_CHARS:
            return _WHO
        digest = hashlib.sha256(token.reveal().encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None and self._clock.now() < known.until:
            return known.answer
        if (asked := self._asking.get(digest)) is not None:
            return await asyncio.shield(asked)
        if len(self._asking) >= REVIEWS_MAX:
            return _BUSY
        asked = self._asking[digest] = asyncio.get_running_loop().create_future()
        answer: Refused | None = _AWAY
        try:
            answer = await self._review(token)
            self._remember(digest, answer)
        except KubeError as error:
            log.info(
                "a token of a scraper could not be reviewed",
                extra={"code": "reviewFailed", "resource": TOKEN_REVIEWS.name, **failure(error)},
            )
        finally:
            del self._asking[digest]
            asked.set_result(answer)
        return answer

    async def _review(self, token: Secret) -> Refused | None:
        review = await self._client.create(TOKEN_REVIEWS, _body(TOKEN_REVIEWS, {"token": token.reveal()}))
        if review.status is None or not review.status.authenticated or review.status.user is None:
            return _WHO
        user = review.status.user
        spec = {
            "user": user.username,
            "uid": user.uid,
            "groups": user.groups or [],
            "extra": user.extra or {},
            "nonResourceAttributes": {"path": PATH, "verb": "get"},
        }
        answer = await self._client.create(SUBJECT_ACCESS_REVIEWS, _body(SUBJECT_ACCESS_REVIEWS, spec))
        return None if answer.status is not None and answer.status.allowed else _NOT_THEM

    def _remember(self, digest: bytes, answer: Refused | None) -> None:
        self._known.pop(digest, None)
        self._known[digest] = _Known(answer, self._clock.now() + (YES_FOR_S if answer is None else NO_FOR_S))
        if len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]


def _body(
    resource: Resource[TokenReview] | Resource[SubjectAccessReview], spec: Mapping[str, object]
) -> dict[str, object]:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}

# SPDX-License-Identifier: Apache-2.0
"""What can come back from an API server, one class per thing a caller does about it.

`reason` decides before `code`, because servers and proxies agree on reasons more often than on codes. A body may be
anything; what is not a Status becomes one (`status_of`), so every `ApiError` has a reason and a message a person can read:
at most 512 characters and no control characters, whoever wrote it.

Sources: Kubernetes `metav1.Status` and `metav1.StatusReason`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

TransportKind = Literal["refused", "dns", "tls", "reset", "eof", "timeout", "redirect", "too_large", "protocol"]

MESSAGE_MAX_CHARS: Final = 512
CAUSES_MAX: Final = 32


class StatusCause(Struct, frozen=True, kw_only=True, rename="camel"):
    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[StatusCause, ...] | None = None
    retry_after_seconds: int | None = None


class Status(Struct, frozen=True, kw_only=True, rename="camel"):
    """`metav1.Status`, the body of every refusal."""

    status: str = "Failure"
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class KubeError(Exception):
    """Something between us and the API server went wrong."""


class NotDeclared(KubeError):
    """A call outside the declared access table; raised before any I/O. The RBAC rules are made from the same rows."""


class DecodeError(KubeError):
    """The answer is not what was asked for."""


class AccessError(KubeError):
    """No usable way to an API server was found; the message lists every place that was tried."""


class TransportError(KubeError):
    """No answer. For a write this says nothing about whether it was committed."""

    def __init__(self, kind: TransportKind, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class ApiError(KubeError):
    """The server refused. `retry_after` is in seconds, None when the server named no time."""

    def __init__(self, status: Status, *, retry_after: float | None = None, method: str = "", path: str = "") -> None:
        super().__init__(f"{method} {path}: {status.code} {status.reason}: {status.message}".strip())
        self.code = status.code
        self.reason = status.reason
        self.message = status.message
        self.status = status
        self.retry_after = retry_after
        self.method = method
        self.path = path

    @property
    def causes(self) -> tuple[StatusCause, ...]:
        """What the server said about single fields; may be empty."""
        return (self.status.details.causes or ()) if self.status.details else ()

    @property
    def rv_too_large(self) -> bool:
        """The server has not seen the resourceVersion we asked for yet."""
        if self.code != 504:
            return False
        named = any(cause.reason == "ResourceVersionTooLarge" for cause in self.causes)
        return named or self.message.startswith("Too large resource version")


class Unauthorized(ApiError): ...


class Forbidden(ApiError): ...


class NotFound(ApiError): ...


class AlreadyExists(ApiError): ...


class Conflict(ApiError): ...


class Expired(ApiError): ...


class Invalid(ApiError): ...


class TooManyRequests(ApiError): ...


class ServerError(ApiError): ...


_BY_REASON: Final[dict[str, type[ApiError]]] = {
    "Unauthorized": Unauthorized,
    "Forbidden": Forbidden,
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Expired": Expired,
    "Gone": Expired,
    "Invalid": Invalid,
    "TooManyRequests": TooManyRequests,
}

_REASON_BY_CODE: Final[dict[int, str]] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

_STATUS = msgspec.json.Decoder(Status)


class _Typed(Struct):
    kind: str = ""


_KIND = msgspec.json.Decoder(_Typed)


def status_of(code: int, body: bytes) -> Status:
    """The Status of a refusal: the one in the body, else one made from the code and the start of the body."""
    try:
        if _KIND.decode(body).kind == "Status":
            status = _STATUS.decode(body)
            return cleaned(status, code=code)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        pass  # anything may stand here: a proxy's page, a cut body, nothing
    text = body[: 4 * MESSAGE_MAX_CHARS].decode("utf-8", "replace")
    return Status(code=code, reason=_REASON_BY_CODE.get(code, "Unknown"), message=plain(text))


def plain(said: str, max_chars: int = MESSAGE_MAX_CHARS) -> str:
    """What a server said, short enough to print and without line ends or control characters."""
    said = said[:max_chars]
    if not said.isprintable():
        said = "".join(char if char.isprintable() else " " for char in said)
    return said.strip()


def cleaned(status: Status, *, code: int = 0) -> Status:
    """A Status as a server sent it, with words that can be logged, a code and a reason. `code`: that of the answer."""
    code = status.code or code
    details = status.details
    if details is not None:
        causes = tuple(
            StatusCause(reason=plain(cause.reason), message=plain(cause.message), field=plain(cause.field))
            for cause in (details.causes or ())[:CAUSES_MAX]
        )
        details = StatusDetails(
            name=plain(details.name),
            group=plain(details.group),
            kind=plain(details.kind),
            uid=plain(details.uid),
            causes=causes,
            retry_after_seconds=details.retry_after_seconds,
        )
    reason = plain(status.reason) or _REASON_BY_CODE.get(code, "Unknown")
    return Status(status=plain(status.status), message=plain(status.message), reason=reason, code=code, details=details)


def api_error(status: Status, *, retry_after: float | None = None, method: str = "", path: str = "") -> ApiError:
    """The exception for a Status; its reason decides before its code."""
    cls = _BY_REASON.get(status.reason)
    if cls is None:
        cls = _BY_REASON.get(_REASON_BY_CODE.get(status.code, ""), ServerError if status.code >= 500 else ApiError)
    return cls(status, retry_after=retry_after, method=method, path=path)

# SPDX-License-Identifier: Apache-2.0
"""What the server says when it says no: Status objects with the reasons, texts and causes of kube-apiserver.

A refusal inside the server is the exception `Refusal`, raised where the rule stands and turned into a Status in one
place, `ApiCore.handle`. Values were tried first: with validation five calls deep every caller repeated the same match.
`FieldError` is a value, because validation collects all mistakes of an object before it refuses it.

Promised: code, reason, `details` and the leading words of the message. Not promised: every word of every detail.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Obj = dict[str, Any]
"""A JSON object as msgspec decodes it: ours to change and never shared, since a `Version` decodes its bytes afresh."""


class FieldError(msgspec.Struct, frozen=True):
    """One mistake in one field, worded as `k8s.io/apimachinery` words it."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def quoted(value: object) -> str:
    """A value as it stands in a message, cut so that a hostile body cannot make a megabyte of text."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 512 else text[:512] + "..."


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, f"Required value{': ' + detail if detail else ''}")


def invalid(field: str, value: object, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f"Invalid value: {quoted(value)}: {detail}")


def wrong_type(field: str, value: object, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {quoted(value)}: {detail}")


def unsupported(field: str, value: object, supported: Sequence[str]) -> FieldError:
    words = ", ".join(f'"{word}"' for word in supported)
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {quoted(value)}: supported values: {words}")


def forbidden_field(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def duplicate(field: str, value: object) -> FieldError:
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {quoted(value)}")


def too_long(field: str, most: int, unit: str = "bytes") -> FieldError:
    return FieldError(
        "FieldValueTooLong",
        field,
        f"Too long: may not be more than {most} {unit.removesuffix('s') if most == 1 else unit}",
    )


def too_many(field: str, actual: int, most: int) -> FieldError:
    return FieldError(
        "FieldValueTooMany", field, f"Too many: {actual}: must have at most {most} item{'s' * (most != 1)}"
    )


class Refusal(Exception):
    """A request this server does not carry out. Never leaves `ApiCore.handle`."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = None if details is None else dict(details)
        self.headers = dict(headers or {})

    def status(self) -> Obj:
        return status(self.code, self.reason, self.message, details=self.details)


class PlainNotFound(Exception):
    """A path that is no part of this API: answered as the real server does, in plain text."""


def status(code: int, reason: str, message: str, *, details: Mapping[str, object] | None = None) -> Obj:
    answer: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        answer["reason"] = reason
    if details is not None:
        answer["details"] = dict(details)
    answer["code"] = code
    return answer


def _who(resource: str, name: str) -> dict[str, object]:
    """`details` of a Status about one object; `resource` is `plural` or `plural.group`."""
    plural, _, group = resource.partition(".")
    who: dict[str, object] = {"name": name}
    if group:
        who["group"] = group
    return who | {"kind": plural}


def not_found(resource: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{resource} "{name}" not found', details=_who(resource, name))


def already_exists(resource: str, name: str) -> Refusal:
    return Refusal(409, "AlreadyExists", f'{resource} "{name}" already exists', details=_who(resource, name))


def conflict(resource: str, name: str, why: str) -> Refusal:
    return Refusal(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": {why}',
        details=_who(resource, name),
    )


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def forbidden(resource: str, name: str, why: str, *, causes: Sequence[Mapping[str, str]] = ()) -> Refusal:
    details = _who(resource, name) | ({"causes": [dict(cause) for cause in causes]} if causes else {})
    return Refusal(403, "Forbidden", f'{resource} "{name}" is forbidden: {why}', details=details)


def method_not_allowed() -> Refusal:
    return Refusal(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unknown_path() -> Refusal:
    """404 below a path of this API that nothing is behind."""
    return Refusal(404, "NotFound", "the server could not find the requested resource", details={})


def unreadable_revision(text: str) -> Refusal:
    """500, which is what the real server says to a resourceVersion in an object that is no number."""
    return Refusal(500, "", f'strconv.ParseUint: parsing "{text[:64]}": invalid syntax')


def unsupported_media_type(accepted: Sequence[str]) -> Refusal:
    return Refusal(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def invalid_object(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> Refusal:
    """422 with one cause per mistake."""
    texts = [str(error) for error in errors]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    who = f"{kind}.{group}" if group else kind
    causes = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    details: dict[str, object] = {"name": name, "group": group, "kind": kind, "causes": causes}
    details = {word: value for word, value in details.items() if value}
    return Refusal(422, "Invalid", f'{who} "{name}" is invalid: {joined}', details=details)


def too_large_revision(asked: int, current: int) -> Refusal:
    return Refusal(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        headers={"Retry-After": "1"},
    )


class Expired(Refusal):
    """410; after an old continue token it carries a token for the inconsistent rest."""

    def __init__(self, message: str, *, continue_: str = "") -> None:
        super().__init__(410, "Expired", message)
        self._continue = continue_

    def status(self) -> Obj:
        return super().status() | ({"metadata": {"continue": self._continue}} if self._continue else {})

# SPDX-License-Identifier: Apache-2.0
"""What a request says and what an answer's headers mean: queries, bodies with preconditions, instants, Retry-After, declared access.

A precondition on the version goes where the server checks it for that kind of body: into `metadata.resourceVersion` of a
merge, strategic or apply patch, and as a leading `replace` of a JSON patch, where a `test` would answer 422 instead of 409.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from purelb.kube.errors import NotDeclared
from purelb.kube.metrics import CLIENT_ACCESS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from purelb.kube.metrics import Sink
    from purelb.kube.resources import Access, Resource

Body = bytes | msgspec.Raw | msgspec.Struct | Mapping[str, object]

RETRY_AFTER_MAX: Final = 3600.0
_SECONDS: Final = re.compile(r"-?[0-9]+")


class PatchType(enum.Enum):
    """How the server reads a patch; the value is its content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


_ENCODER: Final = msgspec.json.Encoder()
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPERATIONS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def query(pairs: Iterable[tuple[str, str | None]]) -> str:
    """`?a=b&c=d` of the pairs that have a value, or nothing."""
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs if value)
    return f"?{text}" if text else ""


def encoded(body: Body) -> bytes:
    """A body as JSON; bytes are taken as they are."""
    return body if isinstance(body, bytes) else _ENCODER.encode(body)


def with_version(body: bytes, rv: str, kind: PatchType) -> bytes:
    """The patch, bound to version `rv` of its object. Raises ValueError when the body is not a patch of that kind."""
    version = msgspec.Raw(_ENCODER.encode(rv))
    try:
        if kind is PatchType.JSON:
            first = {"op": "replace", "path": "/metadata/resourceVersion", "value": rv}
            return _ENCODER.encode([first, *_OPERATIONS.decode(body)])
        fields: dict[str, Any] = dict(_FIELDS.decode(body))
        metadata = _FIELDS.decode(fields["metadata"]) if "metadata" in fields else {}
        fields["metadata"] = {**metadata, "resourceVersion": version}
        return _ENCODER.encode(fields)
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not a {kind.name.lower()} patch: {error}") from error


def delete_options(*, uid: str | None, rv: str | None, propagation: str) -> bytes:
    """The body of a delete."""
    preconditions = {name: value for name, value in (("uid", uid), ("resourceVersion", rv)) if value}
    options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    if preconditions:
        options["preconditions"] = preconditions
    return _ENCODER.encode(options)


def micro_time(at: datetime) -> str:
    """A `MicroTime` as servers write it: UTC, always six digits, `Z`."""
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # a tenth of what strftime takes


def retry_after(headers: Mapping[str, str], seconds: float | None) -> float | None:
    """Seconds to wait, the longer of the header and the body's `retryAfterSeconds`; None when neither says.

    A date is compared with the answer's own `Date`: two clocks of one server, never ours.
    """
    said = [min(max(0.0, value), RETRY_AFTER_MAX) for value in (_header_seconds(headers), seconds) if value is not None]
    return max(said, default=None)


def _header_seconds(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return float(text[:12])
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # no date we can read, or nothing to compare it with


def accept(resource: Resource[Any], *, as_list: bool = False) -> str:
    """The Accept header for a resource."""
    if not resource.metadata_only:
        return "application/json"
    kind = "PartialObjectMetadataList" if as_list else "PartialObjectMetadata"
    return f"application/json;as={kind};g=meta.k8s.io;v=v1,application/json"


class Declared:
    """The calls a component said it would make. A call outside the table is a mistake of ours, found before any I/O.

    Each call is counted by the row that covers it, each row from the start: what stays 0 is a right that nobody needs.
    """

    def __init__(self, rows: Collection[Access], *, sink: Sink) -> None:
        self._sink = sink
        self._rows: dict[tuple[str, str, str, str], list[Access]] = {}
        for row in rows:
            for verb in row.verbs:
                self._rows.setdefault((row.group, row.resource, row.subresource, verb), []).append(row)
        for right in self._rows:
            sink.count(CLIENT_ACCESS, *right, by=0)

    def check(
        self,
        verb: str,
        resource: Resource[Any],
        *,
        namespace: str | None,
        name: str | None,
        subresource: str | None = None,
        fields: str = "",
    ) -> None:
        """Raise `NotDeclared` for a call that no row covers."""
        if resource.plural.startswith("selfsubject"):
            return  # every client may ask what it may do
        if name is None and fields.startswith("metadata.name="):
            name = fields.removeprefix("metadata.name=")
        right = (resource.group, resource.plural, subresource or "", verb)
        for row in self._rows.get(right, ()):
            in_namespace = row.namespaces is None or namespace in row.namespaces
            if in_namespace and (row.names is None or name in row.names):
                self._sink.count(CLIENT_ACCESS, *right)
                return
        what = f"{resource.name}/{subresource}" if subresource else resource.name
        raise NotDeclared(
            f"{verb} {what} (namespace {namespace!r}, name {name!r}) is not in the table of declared access"
        )

    def check_path(self, method: str, path: str) -> None:
        """Raise `NotDeclared` for a path that leads to objects; versions and discovery are open to every client."""
        parts = path.partition("?")[0].strip("/").split("/")
        if len(parts) > {"api": 2, "apis": 3}.get(parts[0], len(parts)):
            raise NotDeclared(f"{method} {path} leads to objects, which only the verbs with a resource may ask for")

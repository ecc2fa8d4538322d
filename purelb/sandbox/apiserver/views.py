# SPDX-License-Identifier: Apache-2.0
"""The same stored state as a client asked to see it: in another version, as metadata only, or as a row of a Table.

Almost every reader asks for the version that is stored; it gets the stored bytes themselves. Everything else is made once
per state and kept with it (`Version.forms`), Tables excepted, since ages differ each time and only people read them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from purelb.sandbox.apiserver import table
from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.defaults import fill, prune
from purelb.sandbox.apiserver.definitions import Column, Custom
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.mvcc import Version

Shape = Literal["object", "meta", "table"]
META = "meta.k8s.io/v1"

_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_BACK = {new: old for old, new in _RENAMED.items()}
EVENTS = "events.k8s.io/v1"


def event_to_core(obj: Obj) -> Obj:
    """An events.k8s.io/v1 Event in the words of v1, which is how it is stored."""
    return {_BACK.get(name, name): value for name, value in obj.items()} | {"apiVersion": "v1"}


def event_from_core(obj: Obj) -> Obj:
    empty = {name for name in ("reportingComponent", "reportingInstance") if not obj.get(name)}
    return {_RENAMED.get(name, name): value for name, value in obj.items() if name not in empty} | {
        "apiVersion": EVENTS
    }


def encode(obj: Obj) -> bytes:
    """JSON with kind and apiVersion in front, so that a list item is a suffix of its object."""
    return msgspec.json.encode({"kind": obj["kind"], "apiVersion": obj["apiVersion"]} | obj)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What one request wants to see."""

    kind: Kind
    api_version: str
    shape: Shape = "object"
    include: Literal["None", "Metadata", "Object"] = "Metadata"  # of a Table's rows

    @property
    def as_stored(self) -> bool:
        return self.shape == "object" and self.api_version == self.kind.stored_as

    @property
    def cache_key(self) -> tuple[str, str]:
        return (self.api_version, self.shape)


class Views:
    """Renders states. Reads the definitions of custom resources, which its owner keeps up to date."""

    def __init__(self, customs: Mapping[str, Custom]) -> None:
        self._customs = customs

    def decoded(self, version: Version, kind: Kind, api_version: str) -> Obj:
        """The state as an object of a version: the defaults of the version it is stored in, the fields of the one asked for."""
        obj = version.decode()
        custom = self._customs.get(kind.key)
        if custom is not None:
            stored, asked = (custom.versions.get(text.rpartition("/")[2]) for text in (obj["apiVersion"], api_version))
            if stored is not None and version.schema != custom.epoch:
                prune(stored.node, obj)
                fill(stored.node, obj)
            if asked is not None and asked is not stored:
                prune(asked.node, obj)
        if kind.key == "events" and api_version == EVENTS:
            return event_from_core(obj)
        obj["apiVersion"] = api_version
        return obj

    def body(self, version: Version, view: View) -> bytes:
        """The bytes of one object in this view, made at most once per state."""
        custom = self._customs.get(view.kind.key)
        fresh = custom is None or version.schema == custom.epoch
        if (
            fresh
            and view.as_stored
            and (custom is None or self._stored_prefix(view) == version.body[: len(self._stored_prefix(view))])
        ):
            return version.body
        if version.forms is None:
            version.forms = {}
        key = (view.api_version, view.shape, custom.epoch if custom is not None else 0)
        made = version.forms.get(key)
        if made is None:
            obj = self.decoded(version, view.kind, view.api_version)
            if view.shape == "meta":
                obj = {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]}
            made = version.forms[key] = encode(obj)
        return made

    @staticmethod
    def _stored_prefix(view: View) -> bytes:
        return f'{{"kind":"{view.kind.kind}","apiVersion":"{view.api_version}",'.encode()

    def item(self, version: Version, view: View) -> bytes:
        """As `body`, for a list: items of built-in kinds carry neither kind nor apiVersion."""
        body = self.body(version, view)
        if view.kind.custom or view.shape == "meta":
            return body
        return b"{" + body[len(self._stored_prefix(view)) :]

    def list_body(self, versions: Sequence[Version], view: View, metadata: Obj, at: datetime) -> bytes:
        if view.shape == "table":
            return encode(self.table(versions, view, metadata, at))
        kind, api_version = view.kind.listing, view.api_version
        if view.shape == "meta":
            kind, api_version = "PartialObjectMetadataList", META
        head = msgspec.json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
        items = b",".join([self.item(version, view) for version in versions])
        return head[:-1] + b',"items":[' + items + b"]}"

    def table(
        self, versions: Sequence[Version], view: View, metadata: Obj, at: datetime, *, columns: bool = True
    ) -> Obj:
        """A Table v1; in a watch only the first carries its column definitions."""
        shown = self._columns(view)
        rows = []
        for version in versions:
            obj = self.decoded(version, view.kind, view.kind.stored_as)
            row: Obj = {"cells": list(table.cells_of(view.kind, shown, obj, at)), "object": None}
            if view.include == "Object":
                row["object"] = self.decoded(version, view.kind, view.api_version)
            elif view.include == "Metadata":
                row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]}
            rows.append(row)
        return {
            "kind": "Table",
            "apiVersion": META,
            "metadata": metadata,
            "columnDefinitions": table.columns_of(view.kind, shown) if columns else None,
            "rows": rows,
        }

    def _columns(self, view: View) -> tuple[Column, ...]:
        custom = self._customs.get(view.kind.key)
        if custom is None:
            return ()
        found = custom.versions.get(view.api_version.rpartition("/")[2])
        return found.columns if found is not None else ()

# SPDX-License-Identifier: Apache-2.0
"""What a server sends, as values: pages of a list and events of a watch.

The poison-object rule lives here. One object that does not decode must not cost its neighbours: a list is cut into raw
items first and each item is decoded alone; a line of a watch is decoded in one pass and, only when that fails, looked at
again. What is left of a bad object is a `Poison`: its key, uid and version, and why. What has not even readable metadata has
an empty key.

What a consumer does not want of an object is left out here, before the next one is decoded (`transform`): the memory of the
rest is free for the next. Rejected: leaving it out when the object is stored; by then ten thousand whole ones have been
decoded, and the few strings that stay hold the pages of all the others, so that it costs more than leaving nothing out.

Rejected: decoding into dicts and converting (three times the CPU, four times the memory); ending the watch on a bad object
(one Service with a wrong type would stop every other one).
"""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, field

from purelb.kube.errors import ApiError, DecodeError, Status, api_error, cleaned, plain
from purelb.kube.model import KubeObject, key
from purelb.kube.resources import Resource
from purelb.kube.sharing import Sharing
from purelb.kube.wire import retry_after

T = TypeVar("T", bound=KubeObject)

PAGES_MAX: Final = 10_000  # five million objects
EMPTY_PAGES_MAX: Final = 3

REFUSALS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


class Poison(Struct, frozen=True, kw_only=True):
    """An object that does not decode. `key` is `""` when not even its metadata does."""

    key: str = ""
    uid: str = ""
    rv: str = ""
    error: str


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list, in the server's order. `continue_` None: the last one."""

    objects: tuple[T, ...] = ()
    poison: tuple[Poison, ...] = ()
    rv: str
    continue_: str | None = None


class Event(Struct, Generic[T], frozen=True, gc=False):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK, or a type that we do not know."""

    type: str
    object: T


class Spoiled(Struct, frozen=True, kw_only=True):
    """An event about an object that does not decode."""

    type: str
    poison: Poison


class Foreign(Struct, frozen=True, kw_only=True):
    """An event about another kind than the one asked for."""

    type: str
    kind: str


class Failed(Struct, frozen=True, kw_only=True):
    """An ERROR event."""

    error: ApiError


class Garbled(Struct, frozen=True, kw_only=True):
    """A line that is not an event."""

    why: str


Encoded: TypeAlias = msgspec.Raw | bytes

Known: TypeAlias = Callable[[str], T | None]
"""What is known under a key, as it was stored."""

_ADDED: Final = b'{"type":"ADDED"'

WatchEvent: TypeAlias = Event[T] | Spoiled | Foreign | Failed | Garbled


class _ListMeta(Struct, rename="camel"):
    resource_version: str | None = ""
    continue_: str | None = field(name="continue", default=None)


class _Envelope(Struct):
    kind: str = ""
    metadata: _ListMeta | None = None
    items: list[msgspec.Raw] | None = None


class _Line(Struct):
    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _Kind(Struct, frozen=True):
    kind: str | None = ""


class _KindOfEvent(Struct):
    type: str = ""
    object: _Kind = _Kind()


class _Meta(Struct, rename="camel"):
    name: str | None = ""
    namespace: str | None = ""
    uid: str | None = ""
    resource_version: str | None = ""


class _Named(Struct):
    metadata: _Meta

    @property
    def key(self) -> str:
        name, namespace = self.metadata.name or "", self.metadata.namespace or ""
        return f"{namespace}/{name}" if namespace and name else name


class _NamedEvent(Struct):
    type: str
    object: _Named


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_LINE: Final = msgspec.json.Decoder(_Line)
_KIND: Final = msgspec.json.Decoder(_Kind)
_KIND_OF_EVENT: Final = msgspec.json.Decoder(_KindOfEvent)
_NAMED: Final = msgspec.json.Decoder(_Named)
_NAMED_EVENT: Final = msgspec.json.Decoder(_NamedEvent)
_STATUS: Final = msgspec.json.Decoder(Status)


def why(error: Exception) -> str:
    """What a decoder had to say, for people. It quotes what it could not decode, however long that is."""
    return "nested too deeply" if isinstance(error, RecursionError) else plain(str(error))


def whole(piece: Encoded) -> bool:
    """Whether a piece of a body is one value of JSON, whatever it says."""
    try:
        _ANY.decode(piece)
    except REFUSALS:
        return False
    return True


def poison_of(raw: Encoded, error: Exception) -> Poison:
    """What can still be said about an object that did not decode."""
    try:
        named = _NAMED.decode(raw)
    except REFUSALS:
        return Poison(error=why(error))
    meta = named.metadata
    return Poison(key=named.key, uid=meta.uid or "", rv=meta.resource_version or "", error=why(error))


def transformed(obj: T, transform: Callable[[T], T]) -> T | Poison:
    """What `transform` makes of an object. An object that makes it raise is fenced off from its neighbours."""
    try:
        return transform(obj)
    except Exception as error:  # noqa: BLE001  one object is fenced off from its neighbours
        meta = obj.metadata
        reason = f"it cannot be transformed: {type(error).__name__}: {error}"
        return Poison(key=key(obj), uid=meta.uid, rv=meta.resource_version, error=reason)


def _if_same(named: _Named, known: Known[T]) -> T | None:
    """The known object, if it is this very version of this very object: to read it again would make its twin."""
    meta = named.metadata
    found = known(named.key)
    if found is None or not meta.resource_version or not meta.uid:
        return None
    there = found.metadata
    return found if (there.resource_version, there.uid) == (meta.resource_version, meta.uid) else None


class Paging:
    """Watches that the pages of one list come to an end."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._empty = 0

    def complaint(self, page: Page[T]) -> str | None:
        """What is wrong with a list whose next page is `page`; None as long as it may still end."""
        token = page.continue_
        if token is None:
            return None
        self._empty = 0 if page.objects or page.poison else self._empty + 1
        if token in self._tokens:
            return "the list does not end: the same continue token came twice"
        if self._empty >= EMPTY_PAGES_MAX:
            return f"the list does not end: {self._empty} empty pages in a row, each with a continue token"
        if len(self._tokens) >= PAGES_MAX:
            return f"the list does not end: a continue token after {PAGES_MAX} pages"
        self._tokens.add(token)
        return None


class Codec(Generic[T]):
    """The decoders of one resource. Objects that are new (of a list, ADDED) share what is equal in them."""

    def __init__(self, resource: Resource[T]) -> None:
        self._resource = resource
        self._kind = "PartialObjectMetadata" if resource.metadata_only else resource.kind
        self._untagged = resource.type.__struct_config__.tag is None  # type: ignore[attr-defined]
        self._object: msgspec.json.Decoder[T] = msgspec.json.Decoder(resource.type)
        event: Any = Event[resource.type]  # type: ignore[name-defined]  # the type is known at run time only
        self._event: msgspec.json.Decoder[Event[T]] = msgspec.json.Decoder(event)
        self.sharing = Sharing()

    def one(self, body: bytes) -> T:
        """The object in the body of an answer. Raises `DecodeError`."""
        try:
            if self._resource.metadata_only:
                self._refuse_table(_KIND.decode(body).kind)
            found = self._object.decode(body)
        except REFUSALS as error:
            raise DecodeError(f"{self._resource.name}: {why(error)}") from error
        return found

    def item(
        self, raw: Encoded, *, transform: Callable[[T], T] | None = None, known: Known[T] | None = None
    ) -> T | Poison:
        """One item of a list, as `transform` makes it; what is `known` in this version already is answered as it is known."""
        if known is not None and (same := self._same(raw, known)) is not None:
            return same
        try:
            item = self._object.decode(raw)
        except REFUSALS as error:
            return poison_of(raw, error)
        self.sharing.within(item)  # type: ignore[arg-type]
        return item if transform is None else transformed(item, transform)

    def envelope(self, body: bytes) -> tuple[list[msgspec.Raw], str, str | None]:
        """Items, version and continuation of a list, the items not yet decoded. Raises `DecodeError`."""
        try:
            found = _ENVELOPE.decode(body)
        except REFUSALS as error:
            raise DecodeError(f"{self._resource.name}: {why(error)}") from error
        self._refuse_table(found.kind)
        if found.kind not in {"", f"{self._kind}List", f"{self._resource.kind}List", "List"}:
            raise DecodeError(f"{self._resource.name}: the answer is of kind {found.kind}")
        meta = found.metadata or _ListMeta()
        # What does not say that it is a list must not pass for an empty one.
        if not found.kind and not meta.resource_version:
            raise DecodeError(
                f"{self._resource.name}: the answer is no list, as it has neither kind nor resourceVersion"
            )
        return found.items or [], meta.resource_version or "", meta.continue_ or None

    def event(self, line: bytes) -> WatchEvent[T]:
        """One line of a watch. Never raises for what a server can send."""
        try:
            event = self._event.decode(line)
        except REFUSALS as error:
            return self._second_look(line, error)
        if event.type == "ADDED":
            self.sharing.within(event.object)  # type: ignore[arg-type]
        elif event.type == "ERROR":
            return self._second_look(line, ValueError("an error without a tag"))
        return self._of_our_kind(event, line) if self._untagged else event

    def event_unless_known(
        self, event: Callable[[bytes], WatchEvent[T]], known: Known[T], line: bytes
    ) -> WatchEvent[T]:
        """As `event` answers, but what is told as ADDED and is known in this version already comes as it is known."""
        if line.startswith(_ADDED):
            try:
                named = _NAMED_EVENT.decode(line).object
            except REFUSALS:
                return event(line)
            if (same := _if_same(named, known)) is not None:
                return Event("ADDED", same)
        return event(line)

    def _same(self, raw: Encoded, known: Known[T]) -> T | None:
        try:
            named = _NAMED.decode(raw)
        except REFUSALS:
            return None
        return _if_same(named, known)

    def event_as(self, transform: Callable[[T], T], line: bytes) -> WatchEvent[T]:
        """One line of a watch, its object as `transform` makes it; one that makes it raise is `Spoiled`."""
        event = self.event(line)
        if not isinstance(event, Event) or event.type == "BOOKMARK":
            return event
        found = transformed(event.object, transform)
        return Spoiled(type=event.type, poison=found) if isinstance(found, Poison) else Event(event.type, found)

    def _of_our_kind(self, event: Event[T], line: bytes) -> WatchEvent[T]:
        """A type without a tag decodes anything."""
        try:
            kind = plain(_KIND_OF_EVENT.decode(line).object.kind or "")
        except REFUSALS as error:
            return self._second_look(line, error)
        return event if kind in {"", self._kind, self._resource.kind} else Foreign(type=plain(event.type), kind=kind)

    def _second_look(self, line: bytes, error: Exception) -> Spoiled | Foreign | Failed | Garbled:
        try:
            found = _LINE.decode(line)
        except REFUSALS as unreadable:
            return Garbled(why=why(unreadable))
        if found.type == "ERROR":
            try:
                status = cleaned(_STATUS.decode(found.object))
            except REFUSALS as unreadable:
                status = Status(code=500, reason="InternalError", message=f"an unreadable error: {why(unreadable)}")
            seconds = retry_after({}, status.details.retry_after_seconds if status.details else None)
            return Failed(error=api_error(status, retry_after=seconds, method="WATCH", path=self._resource.name))
        try:
            kind = _KIND.decode(found.object).kind or ""
        except REFUSALS:
            kind = ""
        if kind and kind not in {self._kind, self._resource.kind}:
            return Foreign(type=plain(found.type), kind=plain(kind))
        return Spoiled(type=found.type, poison=poison_of(found.object, error))

    def _refuse_table(self, kind: str | None) -> None:
        if kind == "Table":
            raise DecodeError(f"{self._resource.name}: the server answered a Table, which is made for terminals")

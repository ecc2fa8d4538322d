# SPDX-License-Identifier: Apache-2.0
"""GET, LIST and WATCH: revisions, pages, selectors, and the 410 of a past that is forgotten.

Lists come from one revision: a page asked for with a continue token shows the state at the token's revision, rebuilt from
the log (`Collection.at`), or 410 with a fresh token once that is below the floor. `rv="0"` ignores `limit`, as a server
with a watch cache does, unless it was told to behave as one without.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping

import msgspec

from purelb.sandbox.apiserver.answers import (
    Expired,
    FieldError,
    Obj,
    Refusal,
    bad_request,
    invalid_object,
    not_found,
    too_large_revision,
)
from purelb.sandbox.apiserver.exchange import ApiResponse, Later, Watcher, encoded, flag
from purelb.sandbox.apiserver.mvcc import Collection, Key, Version
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.selectors import parse_fields, parse_labels
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.views import View
from purelb.sandbox.apiserver.watch import Filter, ObjectWatch

WAIT_FOR_REVISION = 3.0

_OLD_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted "
    "between the time the first chunk was returned and now may show up in the list."
)


class _Token(msgspec.Struct, frozen=True):
    """What a continue token says: the revision of page one (0: whatever is now) and the last key shown."""

    v: str
    rv: int
    namespace: str
    name: str
    of: str  # the collection, so that a token of another resource is garbage


def _write_token(rv: int, last: Key, of: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token("purelb/1", rv, *last, of))).decode().rstrip("=")


def start_token(rv: int, of: str) -> str:
    """A continue token that stands before the first object, at a revision."""
    return _write_token(rv, ("", ""), of)


def _read_token(text: str, of: str) -> _Token:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_request("continue key is not valid: illegal base64 data or content") from error
    if token.v != "purelb/1" or token.of != of or token.rv < 0:
        raise bad_request("continue key is not valid: it belongs to another list")
    return token


def revision(text: str) -> int:
    """A resourceVersion of a query; empty is 0. Raises 400 for anything that is no number."""
    if text == "":
        return 0
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise bad_request(f"invalid resource version: {_unparsable(text)}")
    return int(text)


def _unparsable(text: str) -> str:
    return f'resourceVersion: Invalid value: "{text[:64]}": strconv.ParseUint: parsing "{text[:64]}": invalid syntax'


def _revision_or_500(query: Mapping[str, str]) -> int:
    text = query.get("resourceVersion", "")
    try:
        return revision(text)
    except Refusal as refusal:
        raise Refusal(500, "", _unparsable(text)) from refusal  # sic: kube-apiserver 1.34, but for lists


def _seconds(query: Mapping[str, str]) -> float:
    text = query.get("timeoutSeconds", "")
    if text and not (text.isascii() and text.isdecimal()):
        raise bad_request(f'strconv.ParseInt: parsing "{text[:32]}": invalid syntax')
    return float(text or 0)


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "")
    try:
        limit = int(text or 0)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text[:32]}": invalid syntax') from error
    return max(0, limit)  # the real server takes a negative limit for none


def wanted(target: Target, query: Mapping[str, str], state: State) -> Filter:
    custom = state.customs.get(target.kind.key)
    selectable: tuple[str, ...] = ()
    if custom is not None and target.version in custom.versions:
        selectable = custom.versions[target.version].selectable
    fields = parse_fields(query.get("fieldSelector", ""), target.kind, group=target.group, custom=selectable)
    if target.name is not None:
        fields = (*fields, *parse_fields(f"metadata.name={target.name}", target.kind, group=target.group))
    return Filter(namespace=target.namespace, labels=parse_labels(query.get("labelSelector", "")), fields=fields)


class Reads:
    def __init__(self, state: State, *, watch_cache: bool = True) -> None:
        self._state = state
        self._watch_cache = watch_cache

    def get(self, target: Target, query: Mapping[str, str], view: View, now: float) -> ApiResponse | Watcher:
        asked = _revision_or_500(query)

        def ready(then: float) -> ApiResponse | None:
            if asked > self._state.store.revision and then < now + WAIT_FOR_REVISION:
                return None
            if asked > self._state.store.revision:
                raise too_large_revision(asked, self._state.store.revision)
            return encoded(200, self._one(target, view, then))

        return self._when(ready, target, now)

    def _one(self, target: Target, view: View, now: float) -> bytes:
        version = self._state.get(target.kind, (target.namespace or "", target.name or ""))
        if version is None:
            raise not_found(target.resource, target.name or "")
        if view.shape == "table":
            at = self._state.wall(now)
            return msgspec.json.encode(
                self._state.views.table([version], view, {"resourceVersion": str(version.rv)}, at)
            )
        return self._state.views.body(version, view)

    def many(self, target: Target, query: Mapping[str, str], view: View, now: float) -> ApiResponse | Watcher:
        asked_text, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
        _seconds(query)
        if flag(query, "sendInitialEvents") is not None:
            raise _bad_options("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")
        if match and query.get("continue"):
            raise _bad_options(
                "resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden when continue is provided"
            )
        if match and not asked_text:
            raise _bad_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            )
        if match == "Exact":
            raise _bad_options(
                "resourceVersionMatch",
                "Forbidden: Exact reads are not part of this server: use NotOlderThan or no resourceVersion",
            )
        if match not in {"", "NotOlderThan"}:
            raise _bad_options(
                "resourceVersionMatch",
                f'Unsupported value: "{match[:32]}": supported values: "Exact", "NotOlderThan", ""',
            )
        asked = revision(asked_text)
        selection, limit = wanted(target, query, self._state), _limit(query)
        continued = query.get("continue", "")
        if continued and asked_text not in {"", "0"}:
            raise bad_request("specifying resource version is not allowed when using continue")
        if asked_text == "0" and self._watch_cache:
            limit = 0

        def ready(then: float) -> ApiResponse | None:
            if asked > self._state.store.revision and then < now + WAIT_FOR_REVISION:
                return None
            if asked > self._state.store.revision:
                raise too_large_revision(asked, self._state.store.revision)
            versions, metadata = self._page(target, selection, limit, continued)
            if view.shape == "table" and not metadata.get("continue"):
                metadata.pop("continue", None)
            return encoded(200, self._state.views.list_body(versions, view, metadata, self._state.wall(then)))

        return self._when(ready, target, now)

    def _when(self, ready: Callable[[float], ApiResponse | None], target: Target, now: float) -> ApiResponse | Watcher:
        """The answer now, or one that waits for the revision that was asked for."""
        made = ready(now)
        if made is not None:
            return made
        collection = self._state.store[target.kind.key]

        def attempt(then: float) -> ApiResponse | None:
            try:
                found = ready(then)
            except Refusal as refusal:
                found = encoded(refusal.code, msgspec.json.encode(refusal.status()), headers=refusal.headers)
            if found is not None:
                self._state.detach(collection, waiting)
            return found

        waiting = Later(attempt, again_at=now + WAIT_FOR_REVISION)
        self._state.attach(collection, waiting)
        return waiting

    def _page(self, target: Target, selection: Filter, limit: int, continued: str) -> tuple[list[Version], Obj]:
        store, name = self._state.store, target.kind.key
        collection = store[name]
        rv, after = store.revision, None
        if continued:
            token = _read_token(continued, name)
            after = (token.namespace, token.name)
            if token.rv > store.revision:
                raise bad_request("continue key is not valid: its revision is yet to come")
            if token.rv and token.rv < store.floor_of(collection):
                raise Expired(_OLD_PAGE, continue_=_write_token(0, after, name))
            rv = token.rv or rv
        page: list[Version] = []
        more = False
        for version in _states(collection, rv, selection.namespace, after):
            if not selection.matches(version):
                continue
            if limit and len(page) == limit:
                more = True
                break
            page.append(version)
        metadata: Obj = ({"continue": ""} if target.kind.custom else {}) | {"resourceVersion": str(rv)}
        if more:
            last = page[-1].key
            metadata["continue"] = _write_token(rv, last, name)
            if not selection.selective:
                metadata["remainingItemCount"] = sum(1 for _ in _states(collection, rv, selection.namespace, last))
        return page, metadata

    def selected(self, target: Target, query: Mapping[str, str]) -> list[Version]:
        """What a collection's selectors choose now."""
        selection = wanted(target, query, self._state)
        scan = self._state.store[target.kind.key].scan(namespace=selection.namespace, after=None)
        return [version for version in scan if selection.matches(version)]

    def watch(self, target: Target, query: Mapping[str, str], view: View, now: float) -> Watcher:
        text, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
        initial_events = flag(query, "sendInitialEvents")
        mistakes = []
        if initial_events is not None and match != "NotOlderThan":
            mistakes.append("Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        if initial_events is None and match:
            mistakes.append(
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        if match not in {"", "NotOlderThan"}:
            mistakes.append(f'Unsupported value: "{match[:32]}": supported values: "NotOlderThan"')
        if mistakes:
            raise _bad_options("resourceVersionMatch", *mistakes)
        asked = _revision_or_500(query)
        _limit(query)
        seconds = _seconds(query)
        lasts = seconds or 1800.0 * (1.0 + self._state.rng())
        store = self._state.store
        collection = store[target.kind.key]
        selection = wanted(target, query, self._state)
        from_now = (initial_events is None and text in {"", "0"}) or initial_events is True
        start = store.revision if from_now or (initial_events is False and text in {"", "0"}) else asked
        bookmarks = flag(query, "allowWatchBookmarks") is True
        watcher = ObjectWatch(
            store=store,
            collection=collection,
            views=self._state.views,
            view=view,
            wanted=selection,
            initial=[
                version
                for version in _states(collection, start, selection.namespace, None)
                if selection.matches(version)
            ]
            if from_now
            else [],
            # A server that knows WatchList marks the end of the initial events for old clients too, if they take bookmarks.
            initial_events=from_now and bookmarks,
            start=start,
            ends_at=now + lasts,
            bookmarks_from=now if bookmarks else None,
            wall=self._state.wall,
            done=lambda gone: self._state.detach(collection, gone),
        )
        floor = store.floor_of(collection)
        if start < floor:
            watcher.expire(f"too old resource version: {start} ({floor})")
        self._state.attach(collection, watcher)
        return watcher


def _states(collection: Collection, rv: int, namespace: str | None, after: Key | None) -> Iterator[Version]:
    """The states at a revision, in key order."""
    if collection.changed <= rv:
        yield from collection.scan(namespace=namespace, after=after)
        return
    past = collection.at(rv)
    gone = sorted(
        (
            (key, version)
            for key, version in past.items()
            if version is not None
            and key not in collection.objects
            and (namespace is None or key[0] == namespace)
            and (after is None or key > after)
        ),
        key=lambda found: found[0],
    )
    at = 0
    for version in collection.scan(namespace=namespace, after=after):
        while at < len(gone) and gone[at][0] < version.key:
            yield gone[at][1]
            at += 1
        state = past.get(version.key, version)
        if state is not None:
            yield state
    yield from (version for _, version in gone[at:])


def _bad_options(field: str, *messages: str) -> Refusal:
    reasons = {True: "FieldValueForbidden", False: "FieldValueNotSupported"}
    errors = [FieldError(reasons[text.startswith("Forbidden")], field, text) for text in messages]
    return invalid_object("ListOptions", "meta.k8s.io", "", errors)

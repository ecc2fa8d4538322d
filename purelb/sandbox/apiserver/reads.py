# SPDX-License-Identifier: Apache-2.0
"""GET, LIST and WATCH: revisions, pages, selectors, and the 410 of a past that is forgotten.

Lists come from one revision (`pages`). `rv="0"` ignores `limit`, as a server with a watch cache does, unless it was told to
behave as one without.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from purelb.sandbox.apiserver.answers import (
    Expired,
    FieldError,
    Refusal,
    bad_request,
    invalid_object,
    not_found,
    too_large_revision,
)
from purelb.sandbox.apiserver.exchange import ApiResponse, Later, Watcher, encoded, flag
from purelb.sandbox.apiserver.labels import parse_labels
from purelb.sandbox.apiserver.mvcc import Version
from purelb.sandbox.apiserver.pages import page, states
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.selectors import parse_fields
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.views import View
from purelb.sandbox.apiserver.watch import Filter, ObjectWatch

WAIT_FOR_REVISION = 3.0


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


WatchList = Literal["on", "off", "ignore"]
"""`off` refuses `sendInitialEvents` (422), `ignore` does not know the word: servers of before."""


class Reads:
    def __init__(
        self, state: State, *, watch_cache: bool = True, watch_list: WatchList = "on", bookmark_every: float
    ) -> None:
        self._state = state
        self._watch_cache = watch_cache
        self._watch_list = watch_list
        self._bookmark_every = bookmark_every

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
            raise _bad_options(("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list"))
        if match and query.get("continue"):
            raise _bad_options(
                ("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden when continue is provided")
            )
        if match and not asked_text:
            raise _bad_options(
                (
                    "resourceVersionMatch",
                    "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
                )
            )
        if match == "Exact" and asked_text == "0":
            why = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            raise _bad_options(("resourceVersionMatch", why))
        if match == "Exact":
            raise _bad_options(
                (
                    "resourceVersionMatch",
                    "Forbidden: Exact reads are not part of this server: use NotOlderThan or no resourceVersion",
                )
            )
        if match not in {"", "NotOlderThan"}:
            raise _bad_options(
                (
                    "resourceVersionMatch",
                    f'Unsupported value: "{match[:32]}": supported values: "Exact", "NotOlderThan", ""',
                )
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
            versions, metadata = page(self._state.store, target.kind, selection, limit=limit, continued=continued)
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

    def selected(self, target: Target, query: Mapping[str, str]) -> list[Version]:
        """What a collection's selectors choose now."""
        selection = wanted(target, query, self._state)
        scan = self._state.store[target.kind.key].scan(namespace=selection.namespace, after=None)
        return [version for version in scan if selection.matches(version)]

    def watch(self, target: Target, query: Mapping[str, str], view: View, now: float) -> Watcher:
        text = query.get("resourceVersion", "")
        initial_events = self._initial_events(query)
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
                for version in states(collection, start, selection.namespace, None)
                if selection.matches(version)
            ]
            if from_now
            else [],
            # A server that knows WatchList marks the end of the initial events for old clients too, if they take bookmarks.
            initial_events=from_now and bookmarks and self._watch_list == "on",
            start=start,
            ends_at=now + lasts,
            bookmarks_from=now if bookmarks else None,
            bookmark_every=self._bookmark_every,
            wall=self._state.wall,
            done=lambda gone: self._state.detach(collection, gone),
        )
        floor = store.floor_of(collection)
        if initial_events and asked > store.revision:
            watcher.fail(too_large_revision(asked, store.revision))
        elif start < floor:
            watcher.fail(Expired(f"too old resource version: {start} ({floor})"))
        self._state.attach(collection, watcher)
        return watcher

    def _initial_events(self, query: Mapping[str, str]) -> bool | None:
        """What a watch says about its beginning; None if it says nothing, or nobody here understands it."""
        if self._watch_list == "ignore":
            return None
        match, initial_events = query.get("resourceVersionMatch", ""), flag(query, "sendInitialEvents")
        mistakes: list[tuple[str, str]] = []
        if initial_events is not None and match != "NotOlderThan":
            why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            mistakes.append(("resourceVersionMatch", why))
        if initial_events is not None and self._watch_list == "off":
            why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            mistakes.append(("sendInitialEvents", why))
        if initial_events is None and match:
            why = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            mistakes.append(("resourceVersionMatch", why))
        if match not in {"", "NotOlderThan"}:
            why = f'Unsupported value: "{match[:32]}": supported values: "NotOlderThan"'
            mistakes.append(("resourceVersionMatch", why))
        if mistakes:
            raise _bad_options(*mistakes)
        return initial_events


def _bad_options(*mistakes: tuple[str, str]) -> Refusal:
    """Each mistake is an option and what is wrong with it."""
    reasons = {True: "FieldValueForbidden", False: "FieldValueNotSupported"}
    errors = [FieldError(reasons[text.startswith("Forbidden")], field, text) for field, text in mistakes]
    return invalid_object("ListOptions", "meta.k8s.io", "", errors)

# SPDX-License-Identifier: Apache-2.0
"""Pages of a list: all show the state at the revision of the first one, rebuilt from the log (`Collection.at`).

A continue token says that revision, the last key that was shown and the collection, so that a token of another list is
refused. Once its revision is below the floor the answer is 410, with a token for the rest as it is now.
"""

import base64
import binascii
from collections.abc import Iterator

import msgspec

from purelb.sandbox.apiserver.answers import Expired, Obj, bad_request
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.mvcc import Collection, Key, Store, Version
from purelb.sandbox.apiserver.watch import Filter

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


def write_token(rv: int, last: Key, of: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token("purelb/1", rv, *last, of))).decode().rstrip("=")


def start_token(rv: int, of: str) -> str:
    """A continue token that stands before the first object, at a revision."""
    return write_token(rv, ("", ""), of)


def read_token(text: str, of: str) -> _Token:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_request("continue key is not valid: illegal base64 data or content") from error
    if token.v != "purelb/1" or token.of != of or token.rv < 0:
        raise bad_request("continue key is not valid: it belongs to another list")
    return token


def page(store: Store, kind: Kind, selection: Filter, *, limit: int, continued: str) -> tuple[list[Version], Obj]:
    """One page of a list with its metadata; `limit` 0 means all of it. Raises Expired for a token below the floor."""
    name = kind.key
    collection = store[name]
    rv, after = store.revision, None
    if continued:
        token = read_token(continued, name)
        after = (token.namespace, token.name)
        if token.rv > store.revision:
            raise bad_request("continue key is not valid: its revision is yet to come")
        if token.rv and token.rv < store.floor_of(collection):
            raise Expired(_OLD_PAGE, continue_=write_token(0, after, name))
        rv = token.rv or rv
    found: list[Version] = []
    more = False
    for version in states(collection, rv, selection.namespace, after):
        if not selection.matches(version):
            continue
        if limit and len(found) == limit:
            more = True
            break
        found.append(version)
    metadata: Obj = ({"continue": ""} if kind.custom else {}) | {"resourceVersion": str(rv)}
    if more:
        last = found[-1].key
        metadata["continue"] = write_token(rv, last, name)
        if not selection.selective:
            metadata["remainingItemCount"] = sum(1 for _ in states(collection, rv, selection.namespace, last))
    return found, metadata


def states(collection: Collection, rv: int, namespace: str | None, after: Key | None) -> Iterator[Version]:
    """The states at a revision, in key order, strictly after a key."""
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

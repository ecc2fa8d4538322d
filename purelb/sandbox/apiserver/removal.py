# SPDX-License-Identifier: Apache-2.0
"""DELETE: an object goes, or is marked and waits: for its finalizers, a Pod for its node, a namespace for its content.

A namespace empties itself within the request; a definition takes its objects along. Foreground deletion needs a garbage
collector and is refused; dependants of a deleted owner stay.
"""

from collections.abc import Mapping

import msgspec

from purelb.sandbox.apiserver.answers import (
    Obj,
    bad_request,
    conflict,
    forbidden,
    invalid_object,
    not_found,
    unsupported,
)
from purelb.sandbox.apiserver.definitions import DEFINITIONS
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.mvcc import Version
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.state import State

_SHOWN = frozenset({"pods", "services", "serviceaccounts", DEFINITIONS})  # a deletion answers with the object
_PERMANENT = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


class Done(msgspec.Struct, frozen=True):
    """What a write left: a state to show (stored or, in a dry run, not), and how to answer."""

    code: int
    version: Version
    warnings: tuple[str, ...] = ()
    gone: bool = False


class Removal:
    def __init__(self, state: State) -> None:
        self._state = state

    def delete(self, target: Target, options: Obj, query: Mapping[str, str], now: float) -> Done:
        """Removes an object, or marks it where finalizers (or a Pod's grace) hold it: `Done.gone` says which."""
        version = self._state.get(target.kind, (target.namespace or "", target.name or ""))
        if version is None:
            raise not_found(target.resource, target.name or "")
        _check_preconditions(target, options, version)
        policy = options.get("propagationPolicy") or query.get("propagationPolicy")
        if policy not in {None, "", "Foreground", "Background", "Orphan"}:
            wrong = unsupported("propagationPolicy", str(policy)[:64], ("Foreground", "Background", "Orphan", "nil"))
            raise invalid_object("DeleteOptions", "meta.k8s.io", "", [wrong])
        if policy == "Foreground":
            raise bad_request(
                "propagationPolicy Foreground needs a garbage collector, which this server does not have: use Background"
            )
        obj = self._state.views.decoded(version, target.kind, target.kind.stored_as)
        if target.kind.key == "namespaces" and version.key[1] in _PERMANENT:
            raise forbidden("namespaces", version.key[1], "this namespace may not be deleted")
        if is_dry(query) or options.get("dryRun"):
            return Done(200, version, gone=not obj["metadata"].get("finalizers"))
        if target.kind.key == "namespaces":
            return self._terminate(target.kind, obj, version, now)
        grace = _grace(target.kind, obj, options, query)
        if not obj["metadata"].get("finalizers") and not grace:
            if target.kind.key == "pods":  # whose last state is shown, as the real server does
                stamp = self._state.stamp(now)
                if not obj["metadata"].get("deletionTimestamp"):
                    obj["metadata"]["generation"] = obj["metadata"].get("generation", 1) + 1
                obj["metadata"] |= {"deletionTimestamp": stamp, "deletionGracePeriodSeconds": 0}
            last = self.gone(target.kind, obj, version, now)
            return Done(200, last, gone=target.kind.key not in _SHOWN)
        if obj["metadata"].get("deletionTimestamp"):
            return Done(200, version)
        obj["metadata"] |= {"deletionTimestamp": self._state.stamp(now + grace), "deletionGracePeriodSeconds": grace}
        if target.kind.generation:
            obj["metadata"]["generation"] = obj["metadata"].get("generation", 1) + 1
        return Done(200, self._state.commit(target.kind, "MODIFIED", obj, version.decode(), now=now))

    def gone(self, kind: Kind, obj: Obj, version: Version, now: float) -> Version:
        if kind.key == DEFINITIONS:
            instances = self._state.kinds.get(obj["metadata"]["name"])
            if instances is not None:
                for instance in list(self._state.store[instances.key].objects.values()):
                    self._state.commit(instances, "DELETED", instance.decode(), instance.decode(), now=now)
        last = self._state.commit(kind, "DELETED", obj, version.decode(), now=now)
        if kind.namespaced:
            self._namespace_emptied(version.key[0], now)
        return last

    def _terminate(self, kind: Kind, obj: Obj, version: Version, now: float) -> Done:
        """A namespace is marked, emptied, and removed once nothing in it is held by a finalizer any more."""
        name = version.key[1]
        if not obj["metadata"].get("deletionTimestamp"):
            obj["metadata"]["deletionTimestamp"] = self._state.stamp(now)
            obj["status"] = {"phase": "Terminating"}
            version = self._state.commit(kind, "MODIFIED", obj, version.decode(), now=now)
        for content in [one for one in self._state.kinds if one.namespaced]:
            for found in list(self._state.store[content.key].scan(namespace=name, after=None)):
                held = Target(
                    kind=content, group=content.group, version=content.storage, namespace=name, name=found.key[1]
                )
                if self._state.get(content, found.key) is not None:
                    self.delete(held, {"gracePeriodSeconds": 0}, {}, now)
        self._namespace_emptied(name, now)
        return Done(200, version)

    def _namespace_emptied(self, name: str, now: float) -> None:
        version = self._state.store.get("namespaces", ("", name))
        kind = self._state.kinds.get("namespaces")
        if version is None or kind is None:
            return
        obj = version.decode()
        if not obj["metadata"].get("deletionTimestamp"):
            return
        for content in self._state.kinds:
            if content.namespaced and any(
                True for _ in self._state.store[content.key].scan(namespace=name, after=None)
            ):
                return
        self._state.commit(kind, "DELETED", obj | {"spec": {"finalizers": []}}, obj, now=now)


def is_dry(query: Mapping[str, str]) -> bool:
    asked = query.get("dryRun", "none")
    if asked not in {"none", "All"}:
        raise invalid_object("CreateOptions", "meta.k8s.io", "", [unsupported("dryRun", [asked], ("All",))])
    return asked == "All"


def _check_preconditions(target: Target, options: Obj, version: Version) -> None:
    wanted = options.get("preconditions") or {}
    for field, word, actual, why in (
        ("uid", "UID", version.uid, "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", str(version.rv), "modified"),
    ):
        asked = wanted.get(field)
        if asked and str(asked) != actual:
            said = f"the {word} in the precondition ({asked}) does not match the {word} in record ({actual}). The object might have been {why}"
            raise conflict(target.kind.kind, target.name or "", said[:512])


def _grace(kind: Kind, obj: Obj, options: Obj, query: Mapping[str, str]) -> int:
    """Seconds a Pod on a node may take to end; whoever runs it deletes it again with 0. Everything else goes at once."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if kind.key != "pods" or not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    asked = options.get(
        "gracePeriodSeconds", query.get("gracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
    )
    try:
        return max(0, int(asked))
    except (TypeError, ValueError) as error:
        raise bad_request("gracePeriodSeconds must be a number") from error

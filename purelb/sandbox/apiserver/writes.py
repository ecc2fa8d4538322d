# SPDX-License-Identifier: Apache-2.0
"""POST, PUT and PATCH: from a body to the next revision, or to nothing at all. DELETE is in `removal`.

Every write takes the same steps: decode, complete (defaults, and what this kind of write may touch), check everything,
allocate, commit. Nothing is changed before the last step, so a refusal and a dry run leave no trace. A write that would
change nothing keeps its revision and makes no event.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver import patch, rules, services
from purelb.sandbox.apiserver.advice import advice
from purelb.sandbox.apiserver.answers import (
    STALE,
    FieldError,
    Obj,
    Refusal,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_object,
    not_found,
    unreadable_revision,
)
from purelb.sandbox.apiserver.bodies import Body, shaped
from purelb.sandbox.apiserver.defaults import fill, prune
from purelb.sandbox.apiserver.definitions import DEFINITIONS, check_definition, complete_definition, established
from purelb.sandbox.apiserver.judgement import judge
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.mvcc import Version
from purelb.sandbox.apiserver.names import check_metadata
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.removal import Done, Removal, is_dry
from purelb.sandbox.apiserver.schema import ABSENT
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.validation import type_name

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_SERVERS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_CONDITIONAL = frozenset({"leases.coordination.k8s.io"})  # a PUT must name the revision it replaces
_MADE_BY_PUT = frozenset({"services", "endpoints", "events", "leases.coordination.k8s.io"})


class Writes:
    def __init__(self, state: State) -> None:
        self._state = state
        self._removal = Removal(state)
        self.delete = self._removal.delete

    # --- create ------------------------------------------------------------------------------------------------------

    def create(self, target: Target, body: Body, query: Mapping[str, str], now: float) -> Done:
        kind = target.kind
        obj, warnings = shaped(body, target, self._state, query)
        metadata: Obj = obj["metadata"]
        if kind.namespaced:
            if metadata.setdefault("namespace", target.namespace) != target.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generated(kind, target, str(metadata["generateName"]))
        if metadata.get("resourceVersion", "0") != "0":
            raise Refusal(500, "", "resourceVersion should not be set on objects to be created")
        for field in (*_SERVERS, "resourceVersion"):
            metadata.pop(field, None)
        metadata |= {"uid": self._state.uid(), "creationTimestamp": self._state.stamp(now)}
        if kind.generation:
            metadata["generation"] = 1
        obj = self._completed(target, obj, None)
        self._refuse_if_wrong(target, obj, None)
        self._as_stored(target, obj)
        key = (metadata.get("namespace", ""), metadata["name"])
        if kind.namespaced:
            self._check_namespace(target, key[0], key[1])
        if self._state.get(kind, key) is not None:
            raise already_exists(target.resource, key[1])
        self._allocate(target, obj)
        if kind.key == DEFINITIONS:
            established(obj, None, at=self._state.stamp(now))
        if is_dry(query):
            version = self._state.version(kind, obj, rv=None)
        else:
            version = self._state.commit(kind, "ADDED", obj, None, now=now)
        return Done(201, version, (*warnings, *advice(kind, obj, None)))

    def _generated(self, kind: Kind, target: Target, prefix: str) -> str:
        prefix = prefix[:58]
        for _ in range(8):
            name = prefix + "".join(_SUFFIX[int(self._state.rng() * len(_SUFFIX))] for _ in range(5))
            if self._state.get(kind, (target.namespace or "", name)) is None:
                return name
        raise already_exists(target.resource, prefix)

    def _check_namespace(self, target: Target, namespace: str, name: str) -> None:
        found = self._state.store.get("namespaces", ("", namespace))
        if found is None:
            raise not_found("namespaces", namespace)
        if found.decode()["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(target.resource, name, why, causes=[cause])

    # --- update and patch --------------------------------------------------------------------------------------------

    def update(self, target: Target, body: Body, query: Mapping[str, str], now: float) -> Done:
        name = target.name or ""
        obj, warnings = shaped(body, target, self._state, query)
        if not obj["metadata"].get("name"):
            why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            raise bad_request(why)
        if obj["metadata"]["name"] != name:
            raise bad_request(
                f"the name of the object ({obj['metadata']['name']}) does not match the name on the URL ({name})"[:512]
            )
        if not target.kind.namespaced:
            obj["metadata"].pop("namespace", None)
        elif obj["metadata"].setdefault("namespace", target.namespace) != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        version = self._existing(target)
        if version is None:
            if target.kind.key in _MADE_BY_PUT and not target.subresource:
                body.value["metadata"].pop("resourceVersion", None)
                return self.create(msgspec.structs.replace(target, name=None), body, query, now)
            raise not_found(target.resource, name)
        if not obj["metadata"].get("resourceVersion") and (target.kind.custom or target.kind.key in _CONDITIONAL):
            errors = [invalid("metadata.resourceVersion", 0, "must be specified for an update")]
            raise invalid_object(target.kind.plural, target.group, name, errors)
        return self._replaced(target, obj, version, query, now, warnings)

    def patch(self, target: Target, media: str, body: Body, query: Mapping[str, str], now: float) -> Done:
        """`media` is one that `patch_media_of` has let in."""
        kind = target.kind
        version = self._existing(target)
        if version is None:
            raise not_found(target.resource, target.name or "")
        current = self._state.views.decoded(version, kind, target.api_version)
        match media:
            case patch.JSON_PATCH:
                made = patch.json_patch(current, body.value)
            case _ if not isinstance(body.value, dict):
                raise bad_request(f"error decoding patch: {_no_map(body.value)}")
            case patch.MERGE_PATCH:
                made = patch.merge(current, body.value)
            case _:
                made = patch.strategic(current, body.value, resource=kind.key)
        if not isinstance(made, dict):
            raise bad_request("the patched object is no object")
        metadata = made.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != version.key[1]:
            shown = metadata.get("name") if isinstance(metadata, dict) else None
            if not shown:
                raise invalid_object(
                    kind.kind, target.group, version.key[1], [invalid("metadata.name", shown, "field is immutable")]
                )
            raise bad_request(
                f"the name of the object ({shown}) does not match the name on the URL ({version.key[1]})"[:512]
            )
        if metadata.setdefault("namespace", version.key[0]) != version.key[0]:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if not version.key[0]:
            del metadata["namespace"]
        if metadata.get("uid") != version.uid:
            errors = [invalid("metadata.uid", metadata.get("uid"), "field is immutable")]
            raise invalid_object(kind.kind, target.group, version.key[1], errors)
        try:
            obj, warnings = shaped(Body(made, body.duplicates), target, self._state, query, stored=version.decode())
        except Refusal as refusal:
            if refusal.reason != "BadRequest":
                raise
            # What the patch made cannot be read: the real server blames the patch.
            strict = refusal.message.find("strict decoding error: ")
            decoder = refusal.message.find("json: cannot unmarshal")
            why = refusal.message[max(strict, decoder, 0) :]
            raise invalid_object("", "", "", [invalid("patch", made, why)]) from refusal
        return self._replaced(target, obj, version, query, now, warnings)

    def _existing(self, target: Target) -> Version | None:
        return self._state.get(target.kind, (target.namespace or "", target.name or ""))

    def _replaced(
        self,
        target: Target,
        obj: Obj,
        version: Version,
        query: Mapping[str, str],
        now: float,
        warnings: tuple[str, ...],
    ) -> Done:
        kind, name = target.kind, target.name or ""
        stored = self._state.views.decoded(version, kind, kind.stored_as)
        # The old state in the words of the new one: `shaped` has brought the new one to its stored version.
        metadata, before = obj["metadata"], stored["metadata"]
        if metadata.get("uid", version.uid) != version.uid:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {version.uid}"
            raise conflict(target.resource, name, why[:512])
        asked = str(metadata.get("resourceVersion") or "0")
        if not asked.isdecimal():
            raise unreadable_revision(asked)
        if int(asked) not in {0, version.rv}:
            raise conflict(target.resource, name, STALE)
        if kind.custom and target.subresource in {"status", "scale"}:
            metadata = obj["metadata"] = dict(before)
        if (deleted := metadata.get("deletionTimestamp")) and deleted != before.get("deletionTimestamp"):
            raise invalid_object(
                kind.kind, kind.group, name, [invalid("metadata.deletionTimestamp", deleted, "field is immutable")]
            )
        for field in _SERVERS:
            metadata.pop(field, None)
            if field in before:
                metadata[field] = before[field]
        metadata["resourceVersion"] = before["resourceVersion"]
        obj = self._completed(target, obj, stored)
        if kind.key == "namespaces" and target.subresource == "finalize":
            obj["spec"] = {"finalizers": []}
        self._refuse_if_wrong(target, obj, stored)
        self._as_stored(target, obj)
        self._allocate(target, obj)
        if kind.generation:
            obj["metadata"]["generation"] = rules.next_generation(kind, obj, stored)
        if kind.key == DEFINITIONS and target.subresource != "status":
            established(obj, stored, at=self._state.stamp(now))
        warnings = (*warnings, *advice(kind, obj, stored))
        before_it = version.decode()  # apart from `stored`, which shares what this write may not touch with `obj`
        if obj == before_it:
            return Done(200, version, warnings)
        if is_dry(query):
            return Done(200, self._state.version(kind, obj, rv=version.rv), warnings)
        if before.get("deletionTimestamp") and not obj["metadata"].get("finalizers") and kind.key != "namespaces":
            # The last event shows the state before; the answer shows what was asked for, at the revision it had.
            self._removal.gone(kind, before_it, version, now)
            return Done(200, self._state.version(kind, obj, rv=version.rv), warnings, gone=True)
        return Done(200, self._state.commit(kind, "MODIFIED", obj, before_it, now=now), warnings)

    # --- what both share ---------------------------------------------------------------------------------------------

    def _completed(self, target: Target, obj: Obj, old: Obj | None) -> Obj:
        kind = target.kind
        if not kind.custom:
            obj = rules.complete(kind, obj, old, subresource=target.subresource, cluster=self._state.families)
            if kind.key == "services" and self._state.minor < services.IP_MODE_SINCE:
                services.forget_ip_mode(obj)
            if kind.key == DEFINITIONS:
                complete_definition(obj)
            return obj
        custom = self._state.customs[kind.key].versions[target.version]
        if target.subresource == "status" and old is not None:
            status = obj.get("status")
            return {name: value for name, value in old.items() if name != "status"} | (
                {} if status is None else {"status": status}
            )
        if custom.has_status:
            obj.pop("status", None)
            if old is not None and "status" in old:
                obj["status"] = old["status"]
        return obj

    def _as_stored(self, target: Target, obj: Obj) -> None:
        """A custom resource that came in another version keeps the fields that the stored one has, and gets its defaults."""
        if target.kind.custom and target.version != target.kind.storage:
            node = self._state.customs[target.kind.key].versions[target.kind.storage].node
            prune(node, obj)
            fill(node, obj)

    def _refuse_if_wrong(self, target: Target, obj: Obj, old: Obj | None) -> None:
        errors = list(self._errors(target, obj, old))
        if errors:
            name = str(obj["metadata"].get("name") or obj["metadata"].get("generateName") or "")
            raise invalid_object(target.kind.kind, target.kind.group, name[:300], errors[:64])

    def _errors(self, target: Target, obj: Obj, old: Obj | None) -> Iterator[FieldError]:
        kind = target.kind
        syntax = kind.dns if old is None else "subdomain" if kind.dns != "path" else "path"
        yield from check_metadata(obj["metadata"], namespaced=kind.namespaced, syntax=syntax, core=kind.group == "")
        if old is not None and old["metadata"].get("deletionTimestamp"):
            for finalizer in obj["metadata"].get("finalizers") or ():
                if finalizer not in (old["metadata"].get("finalizers") or ()):
                    yield FieldError(
                        "FieldValueForbidden",
                        "metadata.finalizers",
                        f'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{"{finalizer}"}}',
                    )
        if not kind.custom:
            yield from rules.check(kind, obj, old, group=target.group, subresource=target.subresource)
            if kind.key == DEFINITIONS:
                yield from check_definition(obj, old, epoch=0)[1]
            return
        node = self._state.customs[kind.key].versions[target.version].node
        before: Any = ABSENT if old is None else old
        yield from judge(node, obj, before)

    def _allocate(self, target: Target, obj: Obj) -> None:
        if target.kind.key == "services" and target.subresource != "status":
            errors = list(self._state.allocations.give(obj))
            if errors:
                raise invalid_object("Service", "", obj["metadata"]["name"], errors)


def _no_map(value: Any) -> str:
    shown = {"null": "null", "boolean": "bool", "integer": "number", "number": "number"}
    found = type_name(value)
    return f"json: cannot unmarshal {shown.get(found, found)} into Go value of type map[string]interface {{}}"

# SPDX-License-Identifier: Apache-2.0
"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch, as functions of two JSON values.

Merge keys of the strategic patch are data (`MERGE_KEYS`): a list whose path is in the table is merged by that key, every
other list is replaced. Nothing here changes its arguments' owners: the document comes freshly decoded and is ours.
Not here: server-side apply, which this server refuses (415).
"""

from collections.abc import Mapping
from typing import Any

from purelb.sandbox.apiserver.answers import Obj, Refusal, bad_request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merge(target.get(name), value)
    return target


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902. A failed `test` or a path that does not exist is 422, as on the real server; a malformed patch is 400."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    if len(operations) > 10_000:
        raise Refusal(413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000")
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("error decoding patch: json: cannot unmarshal it into a list of operations")
        if not isinstance(operation.get("path"), str):
            raise _failed("each operation needs a path")
        path = _pointer(operation["path"])
        match operation.get("op"):
            case "add":
                document = _put(document, path, _value(operation), insert=True)
            case "replace":
                document = _put(document, path, _value(operation), insert=False)  # in an object also what is not there
            case "remove":
                document = _remove(document, path)
            case "test":
                if not _same(_read(document, path), _value(operation, default=None)):
                    raise _failed(f"testing value {operation['path']} failed: test failed")
            case "move" | "copy" as op:
                source = _pointer(str(operation.get("from", "")))
                value = _read(document, source)
                if op == "move":
                    document = _remove(document, source)
                document = _put(document, path, value if op == "move" else _clone(value), insert=True)
            case other:
                raise _failed(f"unexpected kind: {other}")
    return document


def _failed(_why: str) -> Refusal:
    """What was wrong stands in the call, for the reader of this file: the real server does not tell either."""
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request", details={})


_NOTHING = object()


def _value(operation: Obj, default: object = _NOTHING) -> Any:
    if "value" in operation:
        return operation["value"]
    if default is _NOTHING:
        raise bad_request("json patch: operation needs a value")
    return default


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _clone(value: Any) -> Any:
    match value:
        case dict():
            return {name: _clone(inner) for name, inner in value.items()}
        case list():
            return [_clone(inner) for inner in value]
        case _:
            return value


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise _failed(f"path {text!r} does not start with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(container: list[Any], step: str, *, insert: bool) -> int:
    if insert and step == "-":
        return len(container)
    last = len(container) if insert else len(container) - 1
    if not (step.isascii() and step.isdecimal()) or not 0 <= int(step) <= last:
        raise _failed(f"unable to access invalid index: {step[:64]}")
    return int(step)


def _read(document: Any, path: list[str]) -> Any:
    for step in path:
        match document:
            case dict() if step in document:
                document = document[step]
            case list():
                document = document[_index(document, step, insert=False)]
            case _:
                raise _failed(f"doc is missing path: /{'/'.join(path)[:256]}: missing value")
    return document


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    match parent:
        case dict():
            parent[path[-1]] = value
        case list():
            at = _index(parent, path[-1], insert=insert)
            if insert:
                parent.insert(at, value)
            else:
                parent[at] = value
        case _:
            raise _failed(f"doc is missing path: /{'/'.join(path)[:256]}: missing value")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _read(document, path)
    if not path:
        return None
    parent = _read(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document


# --- strategic merge -------------------------------------------------------------------------------------------------

_SET = ""  # a list of primitives that is merged as a set
_CONTAINER: dict[str, str] = {
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "resizePolicy": "resourceName",
}
_POD_SPEC: dict[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
    "resourceClaims": "name",
} | {
    f"{containers}.{field}": key
    for containers in ("containers", "initContainers", "ephemeralContainers")
    for field, key in _CONTAINER.items()
}
_CONDITIONS = {"status.conditions": "type"}
_TEMPLATE = {f"spec.template.spec.{path}": key for path, key in _POD_SPEC.items()} | {
    "spec.template.metadata.finalizers": _SET,
    "spec.template.metadata.ownerReferences": "uid",
}
_METADATA = {"metadata.finalizers": _SET, "metadata.ownerReferences": "uid"}
MERGE_KEYS: Mapping[str, Mapping[str, str]] = {
    "services": {"spec.ports": "port"} | _CONDITIONS,
    "nodes": {"spec.podCIDRs": _SET, "status.addresses": "type"} | _CONDITIONS,
    "namespaces": _CONDITIONS,
    "serviceaccounts": {"secrets": "name", "imagePullSecrets": "name"},
    "pods": {f"spec.{path}": key for path, key in _POD_SPEC.items()}
    | {"status.podIPs": "ip", "status.hostIPs": "ip"}
    | _CONDITIONS,
    "deployments.apps": _TEMPLATE | _CONDITIONS,
    "daemonsets.apps": _TEMPLATE | _CONDITIONS,
    "replicasets.apps": _TEMPLATE | _CONDITIONS,
    "poddisruptionbudgets.policy": _CONDITIONS,
}
"""Per resource: dotted path of a merged list (indices left out) to its merge key. Source: the `patchMergeKey` tags of
k8s.io/api. All other lists are replaced, `status.loadBalancer.ingress` and tolerations among them."""


def strategic(document: Obj, patch: Any, *, resource: str) -> Obj:
    """Strategic merge patch of a built-in object."""
    if not isinstance(patch, dict):
        raise bad_request("strategic merge patch must be an object")
    return _merge_map(document, patch, path="", keys=_METADATA | dict(MERGE_KEYS.get(resource, {})))


def _merge_map(target: Obj, patch: Obj, *, path: str, keys: Mapping[str, str]) -> Obj:
    match patch.get("$patch"):
        case "replace":
            return {name: value for name, value in patch.items() if name != "$patch"}
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise bad_request(f"Unknown patch type found: {str(other)[:64]}")
    if isinstance(retain := patch.get("$retainKeys"), list):
        target = {name: value for name, value in target.items() if name in retain}
    orders: dict[str, list[Any]] = {}
    before = {name: value for name, value in target.items() if isinstance(value, list)}
    for name, value in patch.items():
        if name in {"$patch", "$retainKeys"}:
            continue
        if name.startswith("$setElementOrder/"):
            orders[name.partition("/")[2]] = _a_list(name, value)
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            gone = _a_list(name, value)
            if isinstance(target.get(field), list):
                target[field] = [item for item in target[field] if item not in gone]
            continue
        inner = f"{path}.{name}" if path else name
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            below = target.get(name)
            target[name] = _merge_map(below if isinstance(below, dict) else {}, value, path=inner, keys=keys)
        elif isinstance(value, list) and inner in keys:
            below = target.get(name)
            target[name] = _merge_list(below if isinstance(below, list) else [], value, path=inner, keys=keys)
        else:
            target[name] = _stripped(value)
    for field, order in orders.items():
        key = keys.get(f"{path}.{field}" if path else field)
        if key is not None and isinstance(target.get(field), list):
            target[field] = _ordered(target[field], order, before.get(field, []), key)
    return target


def _a_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name[:128]} must be a list")
    return value


def _merge_list(target: list[Any], patch: list[Any], *, path: str, keys: Mapping[str, str]) -> list[Any]:
    key = keys[path]
    if key == _SET:
        merged = target + [item for at, item in enumerate(patch) if item not in target and item not in patch[:at]]
        return _ordered(merged, patch, target, key)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    result = list(target)
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"invalid list element in {path}: expected an object")
        if key not in item:
            raise bad_request(f"map: {sorted(item)[:8]} does not contain declared merge key: {key}")
        at = next(
            (index for index, one in enumerate(result) if isinstance(one, dict) and one.get(key) == item[key]), None
        )
        if item.get("$patch") == "delete":
            result = [one for one in result if not (isinstance(one, dict) and one.get(key) == item[key])]
        elif at is None:
            result.append(_merge_map({}, item, path=path, keys=keys))
        else:
            result[at] = _merge_map(result[at], item, path=path, keys=keys)
    return _ordered(result, patch, target, key)


def _stripped(value: Any) -> Any:
    """A replaced list without the directives that its items may carry."""
    if isinstance(value, list):
        return [_stripped(item) for item in value if not (isinstance(item, dict) and item.get("$patch"))]
    return value


def _ordered(items: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """The order of a merged list: items named in `order` stand in that order, the others in the order they had.

    Both rows are then merged: an item that was there goes before a named one only if it stood before it. So a new item comes
    first, which surprises people, and is what the real server does (`mergeSortedSlice`).
    """

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted, had = [identity(item) for item in order], [identity(item) for item in before]
    named = sorted((item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    others = [item for item in items if identity(item) not in wanted]
    found: list[Any] = []
    while named and others:
        one, other = identity(others[0]), identity(named[0])
        first = others if one in had and other in had and had.index(one) < had.index(other) else named
        found.append(first.pop(0))
    return found + named + others

# SPDX-License-Identifier: Apache-2.0
"""URL paths to what they mean: a resource, a subresource, a namespace, a name. Nothing is looked up here but kinds."""

from urllib.parse import unquote

import msgspec

from purelb.sandbox.apiserver.answers import PlainNotFound, Refusal, not_found
from purelb.sandbox.apiserver.kinds import Kind, Registry


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One resource path. `namespace` None: all of them, or a cluster-scoped kind. `name` None: the collection."""

    kind: Kind
    group: str
    version: str
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As texts name it: `plural` or `plural.group`."""
        return f"{self.kind.plural}.{self.group}" if self.group else self.kind.plural


def resolve(path: str, kinds: Registry) -> Target:
    """The resource a path names. Raises PlainNotFound for anything that is no resource path of a served kind."""
    parts = [unquote(part) for part in path.split("/")[1:]]
    if parts and parts[-1] == "":
        parts.pop()
    if any(part in {"", ".", ".."} or "/" in part for part in parts):
        raise PlainNotFound
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise PlainNotFound
    match rest:
        case ["namespaces", name, "status" | "finalize" as subresource] if group == "":
            return _target(kinds, group, version, "namespaces", None, name, subresource)
        case ["namespaces", namespace, plural, *more]:
            if len(more) > 2:
                raise PlainNotFound
            return _target(kinds, group, version, plural, namespace, *_tail(more))
        case [plural, *more] if len(more) <= 2:
            return _target(kinds, group, version, plural, None, *_tail(more))
        case _:
            raise PlainNotFound


def _tail(parts: list[str]) -> tuple[str | None, str]:
    """Name and subresource."""
    return (parts[0] if parts else None, parts[1] if len(parts) > 1 else "")


_NEEDS_A_KUBELET = {
    "exec": "exec POD -- CMD",
    "attach": "logs POD",
    "portforward": "port-forward POD PORT",
    "log": "logs POD",
    "proxy": "port-forward POD PORT",
}
"""With the command of the sandbox that does it."""


def _target(
    kinds: Registry, group: str, version: str, plural: str, namespace: str | None, name: str | None, subresource: str
) -> Target:
    kind = kinds.find(group, version, plural)
    if kind is None or (namespace is not None and not kind.namespaced):
        raise PlainNotFound
    if kind.namespaced and namespace is None and name is not None:
        raise PlainNotFound
    if kind.key == "pods" and subresource in _NEEDS_A_KUBELET:
        raise Refusal(
            501,
            "NotImplemented",
            f"pods/{subresource} needs a kubelet, which this server does not have: use `purelb sandbox {_NEEDS_A_KUBELET[subresource]}`",
        )
    if subresource == "scale" and "scale" in kind.subresources:
        raise Refusal(501, "NotImplemented", "this server does not answer for scale: patch the object's own fields")
    if subresource and subresource not in kind.subresources:
        if kind.custom and subresource in {"status", "scale"}:
            raise not_found(kind.key, name or "")
        raise PlainNotFound
    return Target(kind=kind, group=group, version=version, namespace=namespace, name=name, subresource=subresource)

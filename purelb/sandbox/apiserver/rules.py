# SPDX-License-Identifier: Apache-2.0
"""What each built-in kind demands beyond being stored: defaults, immutable fields, validation, generations.

Two questions per write, asked in this order: `complete` (in place: defaults, what a status write may touch) and `check`
(mistakes). Services have a file of their own. A kind without a row here is stored as it comes; that is said in `builtins`.
"""

import base64
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from purelb.sandbox.apiserver import service_rules, services
from purelb.sandbox.apiserver.answers import (
    FieldError,
    Obj,
    bad_request,
    duplicate,
    forbidden_field,
    invalid,
    required,
    too_long,
    unsupported,
)
from purelb.sandbox.apiserver.empty import NODE_STATUS
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.names import (
    LABEL_TEXT,
    SUBDOMAIN_TEXT,
    is_label,
    is_subdomain,
    wrong_key,
    wrong_keys,
    wrong_value,
)
from purelb.sandbox.apiserver.services import FAMILIES, family_of

_STATUS_GOES_AT_CREATE = frozenset(
    {"services", "namespaces", "deployments.apps", "daemonsets.apps", "replicasets.apps"}
)
_WITHOUT_SPEC = frozenset({"apiVersion", "kind", "metadata", "status"})


def without_nulls(value: Any) -> Any:
    """A typed decoder cannot tell null from absent; neither does a built-in kind here."""
    match value:
        case dict():
            return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
        case list():
            return [without_nulls(item) for item in value]
        case _:
            return value


def complete(kind: Kind, obj: Obj, old: Obj | None, *, subresource: str, cluster: Sequence[str] = FAMILIES) -> Obj:
    """The object as this write may make it: defaults set, and of a subresource's body only its own part taken."""
    if subresource == "status" and old is not None:
        kept = {name: value for name, value in old.items() if name not in {"metadata", "status"}}
        obj = kept | {"metadata": obj["metadata"]} | ({"status": obj["status"]} if "status" in obj else {})
    elif "status" in kind.subresources:
        if old is not None:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
        elif kind.key in _STATUS_GOES_AT_CREATE:
            obj.pop("status", None)
    match kind.key:
        case "services":
            services.complete(obj, old, cluster=cluster)
        case "namespaces":
            _complete_namespace(obj, old)
        case "pods":
            obj.setdefault("status", {}).setdefault("phase", "Pending")
            obj.setdefault("spec", {}).setdefault("restartPolicy", "Always")
            for condition in obj["status"].get("conditions") or ():
                for field in ("lastProbeTime", "lastTransitionTime"):
                    condition.setdefault(field, None)
            for container in obj["spec"].get("containers") or ():
                for port in container.get("ports") or ():
                    port.setdefault("protocol", "TCP")
        case "secrets":
            _complete_secret(obj)
        case "nodes":
            _complete_node(obj.get("spec") or {})
            status = obj.setdefault("status", {})
            for field, empty in NODE_STATUS.items():
                status[field] = dict(empty) | (status.get(field) or {})
        case "endpointslices.discovery.k8s.io":
            for port in obj.get("ports") or ():
                port.setdefault("name", "")
                port.setdefault("protocol", "TCP")
            for endpoint in obj.get("endpoints") or ():
                endpoint.setdefault("conditions", {})
            for field in ("endpoints", "ports"):
                obj[field] = obj.get(field) or None  # an empty list is null on this wire
        case "leases.coordination.k8s.io":
            for field in ("strategy", "preferredHolder"):  # behind a gate that is closed by default
                obj.setdefault("spec", {}).pop(field, None)
        case "events":
            obj.setdefault("source", {})
            for field in ("eventTime", "firstTimestamp", "lastTimestamp"):
                obj.setdefault(field, None)
            for field in ("reportingComponent", "reportingInstance"):
                obj.setdefault(field, "")
        case _:
            pass
    return obj


def _complete_namespace(obj: Obj, old: Obj | None) -> None:
    name = obj["metadata"].get("name", "")
    labels = obj["metadata"].setdefault("labels", {})
    if name:
        labels["kubernetes.io/metadata.name"] = name
    if old is None:
        obj["spec"] = {"finalizers": ["kubernetes"]}
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _complete_secret(obj: Obj) -> None:
    obj.setdefault("type", "Opaque")
    for text in (obj.get("data") or {}).values():
        try:
            base64.b64decode(text, validate=True)
        except ValueError as error:
            at = next(
                (index for index, letter in enumerate(text) if not (letter.isalnum() or letter in "+/=")), len(text)
            )
            why = f"illegal base64 data at input byte {at}"
            raise bad_request(f'Secret in version "v1" cannot be handled as a Secret: {why}') from error
    for name, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _complete_node(spec: Obj) -> None:
    """The old field is the first of the new ones; where they disagree the old one is believed, as the real server does."""
    first, several = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if first and several[:1] != [first]:
        spec["podCIDRs"] = [first]
    elif several and not first:
        spec["podCIDR"] = several[0]


def check(kind: Kind, obj: Obj, old: Obj | None, *, group: str, subresource: str) -> Iterator[FieldError]:
    """Mistakes of a completed object that came through an API group. Its types were checked before (`builtins`), its metadata elsewhere (`names`)."""
    match kind.key:
        case "services":
            if subresource != "status":
                yield from service_rules.check(obj, old)
            yield from service_rules.check_status(obj)
        case "leases.coordination.k8s.io":
            yield from _check_lease(obj.get("spec") or {})
        case "endpointslices.discovery.k8s.io":
            yield from _check_slice(obj, old)
        case "events":
            yield from _check_event(obj, old, group=group)
        case "nodes":
            yield from _check_node(obj, old)
        case "secrets" | "configmaps":
            yield from _check_data(kind, obj, old)
        case _:
            pass


def _check_lease(spec: Obj) -> Iterator[FieldError]:
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        yield invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
    if spec.get("holderIdentity") == "" and "strategy" in spec:
        yield invalid("spec.holderIdentity", "", "must not be empty")


def _check_slice(obj: Obj, old: Obj | None) -> Iterator[FieldError]:
    kinds = ("FQDN", "IPv4", "IPv6")
    family = obj.get("addressType")
    if not family:
        yield required("addressType")
    elif family not in kinds:
        yield unsupported("addressType", family, kinds)
    if old is not None and family != old.get("addressType"):
        yield invalid("addressType", family, "field is immutable")
    endpoints = obj.get("endpoints") or []
    if len(endpoints) > 1000:
        yield FieldError("FieldValueTooMany", "endpoints", f"Too many: {len(endpoints)}: must have at most 1000 items")
        return
    for index, endpoint in enumerate(endpoints):
        at = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            yield required(f"{at}.addresses", "must contain at least 1 address")
        if len(addresses) > 100:
            yield FieldError(
                "FieldValueTooMany", f"{at}.addresses", f"Too many: {len(addresses)}: must have at most 100 items"
            )
        for place, address in enumerate(addresses):
            if family in {"IPv4", "IPv6"} and family_of(address) != family:
                where = f"{at}.addresses" + ("" if family_of(address) else f"[{place}]")
                yield invalid(
                    where, address, f"must be an {family} address" if family_of(address) else service_rules.BAD_IP
                )
            elif family in {"IPv4", "IPv6"} and (why := _unusable(address)):
                yield invalid(f"{at}.addresses[{place}]", address, why)
        if (host := endpoint.get("hostname")) is not None and not is_label(host):
            yield invalid(f"{at}.hostname", host, LABEL_TEXT)
        for place, zone in enumerate((endpoint.get("hints") or {}).get("forZones") or ()):
            if why := wrong_value(zone.get("name", "")):
                yield invalid(f"{at}.hints.forZones[{place}].name", zone.get("name", ""), why)
        if (node := endpoint.get("nodeName")) is not None and not is_subdomain(node):
            yield invalid(f"{at}.nodeName", node, SUBDOMAIN_TEXT)
    names: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        name = port.get("name", "")
        if name in names:
            yield duplicate(f"ports[{index}].name", name)
        names.add(name)
        if name and not is_label(name):
            yield invalid(f"ports[{index}].name", name, LABEL_TEXT)
        if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
            yield unsupported(f"ports[{index}].protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))


def _unusable(address: str) -> str | None:
    """Why an address cannot be an endpoint's."""
    found = ipaddress.ip_address(address)
    if found.is_unspecified:
        return f"may not be unspecified ({found})"
    if found.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if found.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    if found.is_multicast and found in _LOCAL_MULTICAST[found.version]:
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    return None


_LOCAL_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}


_EVENT_LIMITS = (("reason", 128), ("action", 128), ("reportingInstance", 128), ("message", 1024))
_EVENT_STAYS = ("involvedObject", "reason", "message", "type", "action", "related", "eventTime", "reportingComponent",
                "reportingInstance")  # fmt: skip


def _check_event(obj: Obj, old: Obj | None, *, group: str) -> Iterator[FieldError]:
    """New-style Events (those of events.k8s.io) are checked in full, old ones for their namespace only."""
    regarding = obj.get("involvedObject") or {}
    namespace, of_object = obj["metadata"].get("namespace", ""), regarding.get("namespace", "")
    new_style = group == "events.k8s.io"
    stray = namespace not in {"", "default"} if not of_object else of_object != namespace and not new_style
    if stray:
        yield invalid("involvedObject.namespace", of_object, "does not match event.namespace")
    if not new_style:
        return
    if not obj.get("eventTime"):
        yield required("eventTime")
    for field in ("firstTimestamp", "lastTimestamp", "count") if old is None else ():
        if obj.get(field):
            yield invalid(field, "", "needs to be unset")
    controller = obj.get("reportingComponent", "")
    if not controller:
        yield required("reportingController")
    for why in wrong_keys(controller):
        yield invalid("reportingController", controller, why)
    if not obj.get("reportingInstance"):
        yield required("reportingInstance")
    for field in ("action", "reason"):
        if not obj.get(field):
            yield required(field)
    if obj.get("type") not in {"Normal", "Warning"}:
        yield invalid("type", "", f"has invalid value: {str(obj.get('type', ''))[:64]}")
    for field, most in _EVENT_LIMITS:
        if len(obj.get(field, "").encode()) > most:
            yield invalid(field, "", f"can have at most {most} characters")
    series = obj.get("series")
    if series is not None and series.get("count", 0) < 2:
        yield invalid("series.count", "", "should be at least 2")
    if series is not None and not series.get("lastObservedTime"):
        yield required("series.lastObservedTime")
    for field in _EVENT_STAYS if old is not None else ():
        if obj.get(field) != (old or {}).get(field):
            yield invalid(field, obj.get(field), "field is immutable")


def _check_node(obj: Obj, old: Obj | None) -> Iterator[FieldError]:
    spec: Obj = obj.get("spec") or {}
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    for index, taint in enumerate(spec.get("taints") or ()):
        if why := wrong_key(taint.get("key", "")):
            yield invalid(f"metadata.taints[{index}].key", taint.get("key", ""), why)
        if taint.get("effect") not in effects:
            yield unsupported(f"metadata.taints[{index}].effect", taint.get("effect"), effects)
    before: Obj = (old or {}).get("spec") or {}
    for field, word in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if before.get(field) and spec.get(field) != before[field]:
            yield forbidden_field(f"spec.{field}", f'node updates may not change {word} except from "" to valid')


_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _check_data(kind: Kind, obj: Obj, old: Obj | None) -> Iterator[FieldError]:
    size = 0
    for field in ("data", "binaryData"):
        for name, value in (obj.get(field) or {}).items():
            size += len(value)
            if name == ".." or (name == "." and kind.key == "configmaps"):
                yield invalid(f"{field}[{name}]", name, f"must not be '{name}'")
                continue
            if field == "data" and name in (obj.get("binaryData") or {}):
                yield invalid(f"data[{name[:64]}]", name[:64], "duplicate of key present in binaryData")
            if not name or len(name) > 253 or not all(letter.isalnum() or letter in "-_." for letter in name):
                yield invalid(
                    f"{field}[{name[:64]}]",
                    name[:64],
                    _KEY_TEXT,
                )
    if size > 1024 * 1024:
        yield too_long("data", 1024 * 1024)
    if old is not None and old.get("immutable"):
        for field in ("immutable", "data", "binaryData"):
            if obj.get(field) != old.get(field):
                yield forbidden_field(field, "field is immutable when `immutable` is set")
    if old is not None and obj.get("type") != old.get("type"):
        yield invalid("type", obj.get("type"), "field is immutable")


def next_generation(kind: Kind, obj: Obj, old: Obj) -> int:
    """`metadata.generation` after an update: one more if anything but metadata and status changed."""
    was = int(old["metadata"].get("generation", 1))
    apart = _WITHOUT_SPEC if "status" in kind.subresources or not kind.custom else _WITHOUT_SPEC - {"status"}
    changed = any(obj.get(name) != old.get(name) for name in (obj.keys() | old.keys()) - apart)
    if kind.key == "endpointslices.discovery.k8s.io":  # whose labels count as well
        changed = changed or obj["metadata"].get("labels") != old["metadata"].get("labels")
    return was + changed

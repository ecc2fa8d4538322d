# SPDX-License-Identifier: Apache-2.0
"""What a stored LBNodeAgent means: v1 names, defaults and bounds, read into one frozen Struct.

The v2 name is used when present and not empty, else the v1 name, else the default here: the schema must not default names, or it
would hide the v1 name. Never raises. Which object applies to a node is the agent's decision, not made here; whether a regular
expression matches anything is too, but whether it compiles is said here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from purelb.api.durations import parse_duration
from purelb.api.kinds import AddressConfig, AddressOptions, AgentConfig, GarpConfig, HeartbeatConfig
from purelb.api.rules import DUMMY_INTERFACE_DEFAULT, LOCAL_INTERFACE_DEFAULT
from purelb.api.words import DrainOn, DummyKind, Failback, OnAPIOutage
from purelb.net.quoting import quoted, shown

INTERFACES_MAX: Final = 32
EXPRESSION_MAX: Final = 256
LIFETIME_MAX: Final = 0xFFFFFFFF
LIFETIME_LEAST: Final = 60

_INTERFACE: Final = re.compile(r"[^\s/]{1,15}")
_DRAIN_ON: Final[tuple[DrainOn, ...]] = ("Cordon", "NoExecuteTaint", "NetworkUnavailable")


class Gratuitous(Struct, frozen=True, kw_only=True):
    """Gratuitous ARP and unsolicited neighbour advertisements. Times in seconds; `repeat_interval` 0 is never."""

    enabled: bool = True
    initial_delay: float = 0.1
    count: int = 3
    interval: float = 0.5
    verify_before_send: bool = True
    repeat_interval: float = 60.0


class Lifetimes(Struct, frozen=True, kw_only=True):
    """How addresses are added. Seconds; 0 is permanent; None is tied to the lease (local interfaces only)."""

    valid_s: int | None
    preferred_s: int | None = None
    no_prefix_route: bool


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Heartbeats between the agents of a subnet. Seconds."""

    enabled: bool = True
    port: int = 7934
    interval: float = 0.2


class AgentSettings(Struct, frozen=True, kw_only=True):
    """The settings of a node's agent; the defaults are those of an install without any LBNodeAgent."""

    local_interface: str = LOCAL_INTERFACE_DEFAULT
    interfaces: tuple[str, ...] = ()
    dummy_interface: str = DUMMY_INTERFACE_DEFAULT
    dummy_kind: DummyKind = "dummy"
    gratuitous: Gratuitous = Gratuitous()
    local_addresses: Lifetimes = Lifetimes(valid_s=None, no_prefix_route=True)
    dummy_addresses: Lifetimes = Lifetimes(valid_s=0, no_prefix_route=False)
    heartbeat: Heartbeat = Heartbeat()
    duplicate_check: bool = True
    on_api_outage: OnAPIOutage = "Hold"
    failback: Failback = "Immediate"
    drain_on: tuple[DrainOn, ...] = _DRAIN_ON

    @property
    def expression(self) -> re.Pattern[str] | None:
        """What is searched in interface names; None means the interface of the default route."""
        return None if self.local_interface == LOCAL_INTERFACE_DEFAULT else re.compile(self.local_interface)


class Unusable(Struct, frozen=True):
    """Settings that cannot be used: the text of `ConfigError`."""

    text: str


def parse_settings(written: AgentConfig) -> AgentSettings | Unusable:
    """Read `spec.local`. Never raises."""
    local = written.local_interface or written.localint or LOCAL_INTERFACE_DEFAULT
    dummy = written.dummy_interface or written.extlbint or DUMMY_INTERFACE_DEFAULT
    interfaces = tuple(dict.fromkeys(written.interfaces or ()))
    drain_on = _DRAIN_ON if written.drain_on is None else tuple(dict.fromkeys(written.drain_on))
    garp = written.garp_config or GarpConfig()
    beat = written.heartbeat or HeartbeatConfig()
    options = written.address_config or AddressConfig()
    problem = (
        _expression_problem(local)
        or _names_problem(dummy, interfaces)
        or _words_problem(written, drain_on)
        or _numbers_problem(garp, beat)
        or _lifetimes_problem("localInterface", options.local_interface)
        or _lifetimes_problem("dummyInterface", options.dummy_interface)
    )
    if problem is not None:
        return Unusable(problem)
    return AgentSettings(
        local_interface=local,
        interfaces=interfaces,
        dummy_interface=dummy,
        dummy_kind=_DUMMY_KINDS[written.dummy_kind],
        gratuitous=Gratuitous(
            enabled=_or(garp.enabled, _GARP.enabled),
            initial_delay=_seconds(garp.initial_delay, _GARP.initial_delay),
            count=_GARP.count if garp.count is None else garp.count,
            interval=_seconds(garp.interval, _GARP.interval),
            verify_before_send=_or(garp.verify_before_send, _GARP.verify_before_send),
            repeat_interval=_seconds(garp.repeat_interval, _GARP.repeat_interval),
        ),
        local_addresses=_lifetimes(options.local_interface, _LOCAL),
        dummy_addresses=_lifetimes(options.dummy_interface, _DUMMY),
        heartbeat=Heartbeat(
            enabled=_or(beat.enabled, _HEARTBEAT.enabled),
            port=_HEARTBEAT.port if beat.port is None else beat.port,
            interval=_seconds(beat.interval, _HEARTBEAT.interval),
        ),
        duplicate_check=_or(written.duplicate_check, True),
        on_api_outage=_OUTAGES[written.on_api_outage],
        failback=_FAILBACKS[written.failback],
        drain_on=tuple(_DRAINS[word] for word in drain_on),
    )


_GARP: Final = Gratuitous()
_HEARTBEAT: Final = Heartbeat()
_LOCAL: Final = Lifetimes(valid_s=None, no_prefix_route=True)
_DUMMY: Final = Lifetimes(valid_s=0, no_prefix_route=False)

# The empty word is "not set".
_DUMMY_KINDS: Final[Mapping[str, DummyKind]] = {"": "dummy", "dummy": "dummy", "ifb": "ifb"}
_OUTAGES: Final[Mapping[str, OnAPIOutage]] = {"": "Hold", "Hold": "Hold", "Withdraw": "Withdraw"}
_FAILBACKS: Final[Mapping[str, Failback]] = {"": "Immediate", "Immediate": "Immediate", "Never": "Never"}
_DRAINS: Final[Mapping[str, DrainOn]] = {
    "Cordon": "Cordon",
    "NoExecuteTaint": "NoExecuteTaint",
    "NetworkUnavailable": "NetworkUnavailable",
    "NotReady": "NotReady",
}


def _or(given: bool | None, default: bool) -> bool:  # noqa: FBT001  a value and what stands in for it
    return default if given is None else given


def _seconds(text: str, default: float) -> float:
    found = parse_duration(text) if text else None
    return default if found is None else found


def _lifetimes(written: AddressOptions | None, default: Lifetimes) -> Lifetimes:
    if written is None:
        return default
    valid = default.valid_s if written.valid_lifetime is None else _at_least(written.valid_lifetime)
    preferred = None if written.preferred_lifetime is None else _at_least(written.preferred_lifetime)
    if preferred is not None and valid:  # 0 is permanent, so a permanent preference is capped as well
        preferred = min(preferred or valid, valid)
    return Lifetimes(
        valid_s=valid, preferred_s=preferred, no_prefix_route=_or(written.no_prefix_route, default.no_prefix_route)
    )


def _at_least(seconds: int) -> int:
    return seconds if seconds == 0 else max(seconds, LIFETIME_LEAST)


def _expression_problem(text: str) -> str | None:
    if len(text) > EXPRESSION_MAX:
        return f"localInterface {quoted(text)} has more than {EXPRESSION_MAX} characters"
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"localInterface {quoted(text)} is not a regular expression: {shown(str(error))}"
    return None


def _names_problem(dummy: str, interfaces: Sequence[str]) -> str | None:
    if len(interfaces) > INTERFACES_MAX:
        return f"interfaces: {len(interfaces)} are more than {INTERFACES_MAX}"
    for name in (dummy, *interfaces):
        if not _INTERFACE.fullmatch(name):
            return f"{quoted(name)} is not a name of an interface: 1 to 15 characters without blanks and slashes"
    return None


def _words_problem(written: AgentConfig, drain_on: Sequence[str]) -> str | None:
    words: tuple[tuple[str, str, Collection[str]], ...] = (
        ("dummyKind", written.dummy_kind, _DUMMY_KINDS),
        ("onAPIOutage", written.on_api_outage, _OUTAGES),
        ("failback", written.failback, _FAILBACKS),
        *(("drainOn", word, _DRAINS) for word in drain_on),
    )
    for name, word, known in words:
        if word not in known:
            return f"{name} {quoted(word)} is none of {', '.join(sorted(set(known) - {''}))}"
    return None


def _numbers_problem(garp: GarpConfig, beat: HeartbeatConfig) -> str | None:
    if garp.count is not None and not 1 <= garp.count <= 10:
        return f"garpConfig.count {garp.count} is not between 1 and 10"
    if beat.port is not None and not 1024 <= beat.port <= 65535:
        return f"heartbeat.port {beat.port} is not between 1024 and 65535"
    for name, text, least, most in (
        ("garpConfig.initialDelay", garp.initial_delay, 0.0, None),
        ("garpConfig.interval", garp.interval, 0.0, None),
        ("garpConfig.repeatInterval", garp.repeat_interval, 0.0, None),
        ("heartbeat.interval", beat.interval, 0.1, 5.0),
    ):
        seconds = parse_duration(text) if text else least
        if seconds is None:
            return f"{name} {quoted(text)} is not a duration: write for example 500ms"
        if seconds < least or (most is not None and seconds > most):
            return f"{name} {quoted(text)} is not between 100ms and 5s"
    return None


def _lifetimes_problem(name: str, written: AddressOptions | None) -> str | None:
    if written is None:
        return None
    for part, seconds in (("validLifetime", written.valid_lifetime), ("preferredLifetime", written.preferred_lifetime)):
        if seconds is not None and not 0 <= seconds <= LIFETIME_MAX:
            return f"addressConfig.{name}.{part} {seconds} is not between 0 and {LIFETIME_MAX}"
    return None

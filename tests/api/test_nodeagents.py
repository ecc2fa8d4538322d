# SPDX-License-Identifier: Apache-2.0
"""LBNodeAgents: v1 names, defaults, bounds."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.api.kinds import AgentConfig
from purelb.api.nodeagents import AgentSettings, Lifetimes, Unusable, parse_settings


def read(**written: Any) -> AgentSettings:
    found = parse_settings(msgspec.convert(written, AgentConfig))
    assert isinstance(found, AgentSettings), found
    return found


def refused(**written: Any) -> str:
    found = parse_settings(msgspec.convert(written, AgentConfig))
    assert isinstance(found, Unusable), found
    return found.text


def test_an_empty_object_means_the_defaults_of_an_install_without_one() -> None:
    assert read() == AgentSettings()
    assert read(garpConfig={}, heartbeat={}, addressConfig={"localInterface": {}}) == AgentSettings()


@pytest.mark.parametrize(
    ("written", "local", "dummy"),
    [
        ({}, "default", "kube-lb0"),
        ({"localint": "eth1", "extlbint": "lb1"}, "eth1", "lb1"),
        ({"localint": "default", "sendgarp": False, "localInterface": "eth1"}, "eth1", "kube-lb0"),
        ({"localint": "eth1", "localInterface": ""}, "eth1", "kube-lb0"),
        ({"localint": "eth1", "localInterface": "eth2"}, "eth2", "kube-lb0"),
    ],
)
def test_the_v2_name_is_used_when_it_is_not_empty_then_the_v1_name_then_the_default(
    written: dict[str, Any], local: str, dummy: str
) -> None:
    found = read(**written)
    assert (found.local_interface, found.dummy_interface) == (local, dummy)


def test_the_v1_switch_has_no_effect() -> None:
    assert read(sendgarp=False).gratuitous.enabled
    assert not read(garpConfig={"enabled": False}).gratuitous.enabled


def test_durations_are_read_and_zero_means_never() -> None:
    found = read(garpConfig={"initialDelay": "1s500ms", "interval": "", "repeatInterval": "0s", "count": 1}).gratuitous
    assert (found.initial_delay, found.interval, found.repeat_interval, found.count) == (1.5, 0.5, 0.0, 1)


@pytest.mark.parametrize(
    ("written", "lifetimes"),
    [
        ({}, Lifetimes(valid_s=None, no_prefix_route=True)),
        ({"validLifetime": 0}, Lifetimes(valid_s=0, no_prefix_route=True)),
        ({"validLifetime": 1}, Lifetimes(valid_s=60, no_prefix_route=True)),
        (
            {"validLifetime": 100, "preferredLifetime": 200, "noPrefixRoute": False},
            Lifetimes(valid_s=100, preferred_s=100, no_prefix_route=False),
        ),
        ({"validLifetime": 100, "preferredLifetime": 0}, Lifetimes(valid_s=100, preferred_s=100, no_prefix_route=True)),
        ({"preferredLifetime": 70}, Lifetimes(valid_s=None, preferred_s=70, no_prefix_route=True)),
    ],
)
def test_lifetimes_are_clamped_to_a_minute_and_the_preferred_one_to_the_valid_one(
    written: dict[str, Any], lifetimes: Lifetimes
) -> None:
    assert read(addressConfig={"localInterface": written}).local_addresses == lifetimes


def test_addresses_on_the_dummy_interface_are_permanent_and_have_a_prefix_route() -> None:
    assert read().dummy_addresses == Lifetimes(valid_s=0, no_prefix_route=False)


def test_an_expression_is_searched_unless_it_is_the_default_route() -> None:
    assert read().expression is None
    expression = read(localInterface="^en[ps]").expression
    assert isinstance(expression, re.Pattern)
    assert expression.search("enp3s0")
    assert not expression.search("wlan0")


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"localInterface": "eth("}, '"eth("'),
        ({"localInterface": "x" * 257}, "256 characters"),
        ({"interfaces": ["a/b"]}, '"a/b"'),
        ({"interfaces": [f"eth{i}" for i in range(33)]}, "33"),
        ({"dummyInterface": "sixteen-letters!"}, '"sixteen-letters!"'),
        ({"dummyKind": "tap"}, "dummy, ifb"),
        ({"onAPIOutage": "Pray"}, "Hold, Withdraw"),
        ({"failback": "Later"}, "Immediate, Never"),
        ({"drainOn": ["Moon"]}, "Cordon"),
        ({"garpConfig": {"count": 11}}, "11"),
        ({"garpConfig": {"interval": "5"}}, '"5"'),
        ({"heartbeat": {"interval": "99ms"}}, "100ms"),
        ({"heartbeat": {"interval": "6s"}}, "5s"),
        ({"heartbeat": {"port": 80}}, "1024"),
        ({"addressConfig": {"dummyInterface": {"validLifetime": -1}}}, "-1"),
    ],
)
def test_settings_that_cannot_be_used_say_which_and_why(written: dict[str, Any], named: str) -> None:
    assert named in refused(**written)


def test_an_empty_list_of_reasons_to_drain_means_none_and_absence_means_the_default() -> None:
    assert read(drainOn=[]).drain_on == ()
    assert read().drain_on == ("Cordon", "NoExecuteTaint", "NetworkUnavailable")


words = st.text(max_size=20)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "localInterface": st.text("abc()[]{}?*+.|^$\\-0,", max_size=20),
            "dummyInterface": words,
            "interfaces": st.lists(words, max_size=3),
            "dummyKind": words,
            "drainOn": st.lists(words, max_size=2),
            "heartbeat": st.fixed_dictionaries({}, optional={"port": st.integers(), "interval": words}),
        },
    )
)
@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
def test_no_stored_settings_make_the_reader_raise(written: dict[str, Any]) -> None:
    found = parse_settings(msgspec.convert(written, AgentConfig))
    if isinstance(found, Unusable):
        assert found.text.isprintable()

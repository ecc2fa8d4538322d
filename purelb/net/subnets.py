# SPDX-License-Identifier: Apache-2.0
"""Subnets as text: the form in which agents advertise them and everybody compares them.

A subnet on the wire is its network in canonical text (`192.0.2.0/24`, `2001:db8::/64`), and lists of them are sorted *as text*, because
the list is part of a fingerprint and of golden vectors that other implementations share. Comparing subnets in code is done on
networks, never on text. Readers drop what does not parse; they never raise.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from purelb.net.ranges import Family, IPAddress, IPNetwork, Unreadable, family_of, parse_address, parse_prefix_length

# More than this many are not advertised: the annotation has a bound, and so has the election.
SUBNETS_MAX = 256

# Longest text of one subnet: 39 characters of IPv6, a slash, three digits.
_LONGEST = 43


def network_of(address: IPAddress, prefix_length: int) -> IPNetwork:
    """The network of that length around an address."""
    if address.version == 4:
        return IPv4Network((int(address), prefix_length), strict=False)
    return IPv6Network((int(address), prefix_length), strict=False)


def parse_subnet(text: str, *, family: Family | None = None) -> IPNetwork | Unreadable:
    """A CIDR; host bits are masked off, blanks around it are ignored. `family` None takes either."""
    stripped = text.strip()
    address_text, slash, length_text = stripped.partition("/")
    address = parse_address(address_text)
    if address is None or not slash:
        return Unreadable(stripped, "is not a subnet: write for example 192.0.2.0/24 or 2001:db8::/64")
    found = family_of(address)
    if family is not None and found != family:
        return Unreadable(stripped, f"is an IPv{found} subnet where an IPv{family} one belongs")
    length = parse_prefix_length(length_text, found)
    if length is None:
        return Unreadable(stripped, "is not a subnet: its prefix length is not one of its family")
    return network_of(address, length)


def advertised(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Each network once, sorted by its text. Not cut: the caller compares with `SUBNETS_MAX` and reports what it drops."""
    return tuple(sorted(set(networks), key=str))


def print_subnets(networks: Iterable[IPNetwork]) -> str:
    """The annotation value: network form, each once, sorted as text, comma-joined, at most `SUBNETS_MAX`. Empty for none."""
    return ",".join(str(network) for network in advertised(networks)[:SUBNETS_MAX])


def parse_subnets(text: str) -> tuple[IPNetwork, ...]:
    """What `print_subnets` wrote, by anybody: what does not parse or lies beyond the bound is dropped, the rest is sorted as text."""
    found: list[IPNetwork] = []
    for piece in text.split(",", SUBNETS_MAX)[:SUBNETS_MAX]:
        if len(piece) > 2 * _LONGEST:
            continue
        network = parse_subnet(piece)
        if not isinstance(network, Unreadable):
            found.append(network)
    return advertised(found)


def containing(networks: Iterable[IPNetwork], address: IPAddress) -> IPNetwork | None:
    """The first of `networks`, in their order, that contains the address; None when none does."""
    for network in networks:
        if network.version == address.version and address in network:
            return network
    return None

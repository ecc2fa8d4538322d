# SPDX-License-Identifier: Apache-2.0
"""What is asked of a source. It stands alone because a refusal carries it: what a Service waits for may have to be asked first."""

from msgspec import Struct

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address
from purelb.net.ranges import Family


class Ask(Struct, frozen=True, gc=False):
    """What one Service lacks: one address of each family, or exactly these addresses. `avoid` are not to be given, as text."""

    service: ServiceKey
    uid: str
    families: tuple[Family, ...] = ()
    addresses: tuple[Address, ...] = ()
    sharing_key: str | None = None
    avoid: frozenset[str] = frozenset()

    @property
    def subject(self) -> object:
        """What makes it another question than one that was answered."""
        return self.uid, self.families, self.addresses, self.sharing_key


class Asked(Struct, frozen=True, gc=False):
    """An ask, and the group whose source it is for."""

    group: str
    ask: Ask

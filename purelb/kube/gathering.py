# SPDX-License-Identifier: Apache-2.0
"""The pages of one list, put together as they come.

Its version is that of the first page. The pages of an audit are not kept: each is compared with what is stored and let go.
"""

from typing import Generic, TypeVar

from purelb.kube.decode import Page, Paging, Poison
from purelb.kube.listwatch import Compare, List
from purelb.kube.model import KubeObject

T = TypeVar("T", bound=KubeObject)


class Gathering(Generic[T]):
    """One for each list. `asked` is the page that is waited for."""

    def __init__(self, asked: List, *, audits: bool = False) -> None:
        self.asked = asked
        self.audits = audits
        self.rv = ""
        self._objects: list[T] = []
        self._poison: list[Poison] = []
        self._pages = Paging()

    def take(self, page: Page[T]) -> str | None:
        """One page; what is wrong with a list that goes on like this, None as long as it may still end."""
        if wrong := self._pages.complaint(page):
            return wrong
        if self.asked.continue_ is None:
            self.rv = page.rv
        if not self.audits:
            self._objects += page.objects
            self._poison += page.poison
        return None

    def compare(self, page: Page[T]) -> Compare[T]:
        """What an audit does with a page."""
        return Compare(page.objects, page.poison, self.asked.continue_ is None, not page.continue_)

    def next(self, token: str) -> List:
        """The page after one that ended with `token`."""
        asked = self.asked
        self.asked = List(rv=asked.rv, match=asked.match, limit=asked.limit, continue_=token)
        return self.asked

    def complete(self) -> tuple[tuple[T, ...], tuple[Poison, ...]]:
        """All objects, and what could not be read. Nothing of them is kept here."""
        objects, poison, self._objects, self._poison = tuple(self._objects), tuple(self._poison), [], []
        return objects, poison

    def in_one(self) -> List | None:
        """The same list without pages, for one whose later page has expired; None if it was the first."""
        return None if self.asked.continue_ is None else List(rv=self.asked.rv, match=self.asked.match, limit=0)

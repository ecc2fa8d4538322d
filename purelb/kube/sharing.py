# SPDX-License-Identifier: Apache-2.0
"""Objects of one resource say the same things over and over: equal parts of them are kept once.

Ten thousand Services hold `Cluster`, `IPv4` and the same few lists of ports ten thousand times, each a string or a tuple of
its own as it was decoded. A part that was seen before takes the place of the new one before anybody has told of the object, so
nothing can tell but the memory. For each field the first 256 different values are remembered and no more, so what is different
in each object (addresses) costs a look and never memory. Of a long list (what a node announces) only what is in it is shared: no
other is equal to it, and the first 256 of its versions would be kept for ever; when it changes not even that, for thousands of
looks would hold the loop. A map (labels, annotations, a selector) is such a part as a whole: nobody changes what came from the
server. Names and uids are left alone.

Rejected: `sys.intern` (strings only, never bounded); enums in the Structs (a value of a newer server would not decode).
"""

from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields, force_setattr

from purelb.kube.model import ObjectMeta, same_meta

VALUES_MAX: Final = 256
TEXT_MAX: Final = 512  # characters of all values of a map
ITEMS_MAX: Final = 16  # of a list

_Known: TypeAlias = tuple[tuple[str, dict[object, object]], ...]
_WORDS: Final = (str, int, float, bool, type(None))


class Sharing:
    """One for each resource."""

    def __init__(self) -> None:
        self._fields: dict[type, _Known] = {}
        self._parts: dict[type, _Known] = {}

    def __len__(self) -> int:
        """How many values are remembered."""
        return sum(len(known) for fields in self._fields.values() for _, known in fields)

    def within(self, obj: Struct) -> None:
        """Replace parts of `obj`, which nobody else holds yet, by equal ones that were seen before."""
        kind = type(obj)
        for name, known in self._fields.get(kind) or self._remember(kind):
            part = getattr(obj, name)
            if part:
                self._share(obj, name, part, known)

    def beside(self, old: Struct, new: Struct) -> None:
        """As `within`, of a newer version of `old`, whose parts were shared when they came. Single words of its spec stay its own."""
        kind = type(new)
        parts = self._parts.get(kind)  # of a lease there are none
        for name, known in self._remember_parts(kind) if parts is None else parts:
            part, before = getattr(new, name), getattr(old, name)
            if part is before or not part:
                continue
            if type(part) is type(before) and isinstance(part, Struct):
                self.beside(before, part)
            elif part == before:
                force_setattr(new, name, before)
            elif type(part) is not tuple or len(part) <= ITEMS_MAX:
                self._share(new, name, part, known)

    def _share(self, obj: Struct, name: str, part: Any, known: dict[object, object]) -> None:
        what = type(part)
        if what is tuple and len(part) > ITEMS_MAX:
            self._share_items(part)
        elif what is str or what is tuple or what is dict:
            value = part if what is not dict else tuple(part.items())
            try:
                held = known.get(value)
                if held is None and len(known) < VALUES_MAX and (what is not dict or _is_short(part)):
                    known[value] = part
            except TypeError:
                held = None  # there is a map in it
            if held is not None:
                force_setattr(obj, name, held)
            elif what is tuple:
                self._share_items(part)
        elif what in self._fields or isinstance(part, Struct):
            self.within(part)

    def _share_items(self, part: tuple[Any, ...]) -> None:
        if isinstance(part[0], Struct):
            for each in part:
                self.within(each)

    def _remember(self, kind: type[Struct]) -> _Known:
        names = ("namespace", "labels", "annotations") if kind is ObjectMeta else kind.__struct_fields__
        whole = self._fields[kind] = tuple((name, {}) for name in names)
        return whole

    def _remember_parts(self, kind: type[Struct]) -> _Known:
        """The namespace, and the fields that can hold something larger than a word."""
        whole = self._fields.get(kind) or self._remember(kind)
        single = {field.name for field in fields(kind) if _is_word(field.type)}
        parts = self._parts[kind] = tuple(each for each in whole if each[0] == "namespace" or each[0] not in single)
        return parts


def _is_word(annotation: object) -> bool:
    """Whether a field of this type holds a single word or number, or nothing."""
    of, arguments = get_origin(annotation), get_args(annotation)
    if of is Annotated:
        return _is_word(arguments[0])
    if of is Union or of is UnionType:
        return all(map(_is_word, arguments))
    return of is Literal or any(annotation is word for word in _WORDS)


def _is_short(part: dict[str, str]) -> bool:
    """Whether a map may be remembered: an annotation can be a whole manifest, and no two of those are equal."""
    return sum(map(len, part.values())) <= TEXT_MAX


def keep_equal(old: Struct, new: Struct) -> bool:
    """Let `new`, which nobody else holds yet, take over the parts of its older version that did not change.

    Answers whether nothing did but the version, as `same_but_rv` would: once for each event, so both in one pass.
    """
    if type(old) is not type(new):
        return False
    same = True
    for name in new.__struct_fields__:
        part, before = getattr(new, name), getattr(old, name)
        if part is before:
            continue
        if name == "metadata":
            same = same and same_meta(before, part)
        elif part == before:
            force_setattr(new, name, before)
        else:
            same = False
    return same

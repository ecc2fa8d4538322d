# SPDX-License-Identifier: Apache-2.0
"""Long lists come in chunks: cut into items without being put together, the same objects come out."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.kube.decode import Codec, Page, Paging, Poison
from purelb.kube.errors import DecodeError
from purelb.kube.listing import Listing
from purelb.kube.pieces import BEGINNING_MAX_BYTES, HEAD_MAX_BYTES, ItemSplitter
from purelb.kube.resources import SERVICES
from purelb.kube.transport import Response
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from purelb.kube.model import Service

Json = dict[str, Any]
META = {"resourceVersion": "5", "continue": "abc"}


def item(name: str, **more: Any) -> Json:
    return {"metadata": {"name": name, "namespace": "d", "resourceVersion": "1"}, **more}


def listed(*items: Json) -> bytes:
    """As a server writes the list of a kind that it knows."""
    return compact({"kind": "ServiceList", "apiVersion": "v1", "metadata": META, "items": items})


def listed_custom(*items: Json) -> bytes:
    """As a server writes the list of a custom kind: its keys are sorted."""
    whole = [{"apiVersion": "x.example/v1", "kind": "Service", **each} for each in items]
    return compact({"apiVersion": "x.example/v1", "items": whole, "kind": "ServiceList", "metadata": META})


def compact(what: Any) -> bytes:
    return json.dumps(what, separators=(",", ":")).encode() + b"\n"


def chunks(body: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(body[at : at + size] for at in range(0, len(body), size))


def split(body: bytes, size: int) -> tuple[list[bytes], bytes | None]:
    splitter = ItemSplitter()
    return [found for chunk in chunks(body, size) for found in splitter.feed(chunk)], splitter.rest()


def page(*pieces: bytes, body: bytes = b"", seen: list[str] | None = None) -> Page[Service]:
    def note(service: Service) -> Service:
        if seen is not None:
            seen.append(service.metadata.name)
        return service

    async def taken() -> Page[Service]:
        listing = Listing(Codec(SERVICES), clock=VirtualClock(), transform=note, known=None)
        return await listing.page(Response(status=200, headers={}, body=body, pieces=pieces))

    return asyncio.run(taken())


FORMS = {"known": listed, "custom": listed_custom}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_items_come_out_one_by_one_however_the_body_is_cut_and_the_last_is_left_with_the_list(
    form: str, size: int
) -> None:
    items = [item(f"s{number}", spec={"ports": [{"port": 80}, {"port": 81}]}) for number in range(5)]
    found, rest = split(FORMS[form](*items), size)
    assert rest is not None
    left = json.loads(rest)
    assert [each["metadata"]["name"] for each in [*map(json.loads, found), *left["items"]]] == [
        f"s{number}" for number in range(5)
    ]
    assert left == json.loads(FORMS[form](*items[len(found) :]))
    assert size < 10_000 or len(found) == 4


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(listed(), id="there are no items"),
        pytest.param(json.dumps(json.loads(listed(item("a"), item("b"))), indent=2).encode(), id="it is indented"),
        pytest.param(b'{"items":[' + b"5," * 10_000 + b"5]}", id="items are no objects"),
        pytest.param(b'{"x":"' + b"y" * HEAD_MAX_BYTES + listed(item("a"), item("b"))[1:], id="the head has no end"),
        pytest.param(
            listed({"a": "x" * BEGINNING_MAX_BYTES, **item("a")}, item("b")), id="metadata is far from the beginning"
        ),
        pytest.param(b"x" * 100_000, id="it is no list"),
        pytest.param(b"", id="there is nothing"),
    ],
)
def test_where_there_is_nothing_to_go_by_nothing_comes_out(body: bytes) -> None:
    for size in (1, 1000, 200_000):
        assert split(body, size) == ([], None)


def test_text_that_looks_like_the_end_of_an_item_is_part_of_it() -> None:
    text = '},{"metadata":{"name":"x"},"items":['
    found, _ = split(listed(item("a", note=text), item("b")), 1000)
    assert [json.loads(each)["note"] for each in found] == [text]


def test_an_item_in_many_chunks_is_not_looked_through_for_each_of_them() -> None:
    body = listed(item("a", note="x" * 1000), *(item(f"b{number}") for number in range(50)))
    splitter = ItemSplitter()
    assert splitter.feed(body[:1000]) == []
    assert splitter.feed(body[1000:1500]) == [], "half as much is new: another look would cost more than it brings"
    assert len(splitter.feed(body[1500:2200])) > 5


def test_a_list_in_the_list_that_looks_like_it_is_no_harm() -> None:
    inner = [{"metadata": {"name": "inner"}}, {"metadata": {"name": "other"}}]
    items = [item("a"), item("b", inner=inner), item("c")]
    body = listed(*items)
    assert not all(map(_is_json, split(body, 1000)[0])), "or this proves nothing"
    found = page(*chunks(body, 1000))
    assert found == page(body=body)
    assert [each.metadata.name for each in found.objects] == ["a", "b", "c"]


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_of_items_that_are_whole_and_cannot_be_read_only_they_are_lost_and_nothing_is_read_twice() -> None:
    items = [item("a"), item("b", spec=5), item("c"), item("d", spec={"type": 5})]
    seen: list[str] = []
    found = page(*chunks(listed(*items), 30), seen=seen)
    assert [each.key for each in found.poison] == ["d/b", "d/d"]
    assert (found.rv, found.continue_) == ("5", "abc")
    assert seen == ["a", "c"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(listed(item("a"), item("b"))[:-3], id="cut at its end"),
        pytest.param(listed(item("a"), item("b")).replace(b"ServiceList", b"Table"), id="a table"),
        pytest.param(listed(item("a"), item("b")).replace(b"ServiceList", b"PodList"), id="another kind"),
        pytest.param(listed(item("a"), item("b")).replace(b'"name":"a"', b'"name":a'), id="broken in the middle"),
    ],
)
def test_what_is_no_list_is_refused_in_the_words_of_the_whole(body: bytes) -> None:
    with pytest.raises(DecodeError) as whole:
        page(body=body)
    with pytest.raises(DecodeError) as pieces:
        page(*chunks(body, 20))
    assert str(pieces.value) == str(whole.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just('},{"metadata":{'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "items", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ITEMS = st.builds(
    lambda name, more, at: dict(itertools.chain([*more.items()][:at], item(name).items(), [*more.items()][at:])),
    st.sampled_from(["a", "b", "c", "d"]),
    st.dictionaries(st.sampled_from(["spec", "status", "x", "items"]), VALUES, max_size=3),
    st.integers(0, 3),
)


@given(st.lists(ITEMS, max_size=6), st.sampled_from(sorted(FORMS)), st.integers(1, 400))
def test_whatever_the_items_hold_the_page_is_that_of_the_whole_body(items: list[Json], form: str, size: int) -> None:
    body = FORMS[form](*items)
    assert page(*chunks(body, size)) == page(body=body)


def token(number: int) -> Page[Service]:
    return Page(rv="1", continue_=f"t{number}")


def test_a_list_may_have_two_empty_pages_in_a_row_and_ten_thousand_in_all() -> None:
    pages = Paging()
    assert pages.complaint(token(1)) is None
    assert pages.complaint(token(2)) is None
    assert "3 empty pages" in (pages.complaint(token(3)) or "")
    pages, full = Paging(), Poison(error="it counts as content")
    for number in range(10_000):
        assert pages.complaint(Page(poison=(full,), rv="1", continue_=f"t{number}")) is None
    assert "10000 pages" in (pages.complaint(Page(poison=(full,), rv="1", continue_="more")) or "")
    assert pages.complaint(Page(poison=(full,), rv="1")) is None

# SPDX-License-Identifier: Apache-2.0
"""Chunks in, whole lines out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.kube.errors import TransportError
from purelb.kube.lines import LineSplitter

LINE = b'{"type":"ADDED","object":{"metadata":{"name":"\xc3\xa4"}}}'
CONTENT = {
    "one line": LINE + b"\n",
    "two lines": LINE + b"\n" + LINE + b"\n",
    "carriage returns": LINE + b"\r\n" + LINE + b"\r\n",
    "blank lines": b"\n\n" + LINE + b"\n\r\n\n",
    "a line of 300 KB": b"x" * 300_000 + b"\n" + LINE + b"\n",
    "an unfinished last line": LINE + b"\n" + LINE,
}


def split(*chunks: bytes) -> list[bytes]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)]


@pytest.mark.parametrize("name", CONTENT)
def test_the_same_lines_come_out_however_the_stream_is_cut(name: str) -> None:
    content = CONTENT[name]
    whole = split(content)
    assert whole == [line for line in content.replace(b"\r", b"").split(b"\n")[:-1] if line]
    step = max(1, len(content) // 50)
    assert split(*(content[at : at + step] for at in range(0, len(content), step))) == whole
    assert split(*(content[at : at + 1] for at in range(min(len(content), 2000))), content[2000:]) == whole


def test_a_line_may_have_16_mib_and_no_more() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * (16 * 1024 * 1024)) == []
    with pytest.raises(TransportError, match="longer than 16777216 bytes"):
        splitter.feed(b"x")


def test_a_last_line_without_its_end_is_never_handed_out() -> None:
    assert split(LINE, LINE) == []


def test_a_line_that_never_ends_is_a_protocol_error() -> None:
    splitter = LineSplitter(line_max_bytes=1000)
    assert splitter.feed(b"x" * 1000) == []
    with pytest.raises(TransportError, match="longer than 1000 bytes") as caught:
        splitter.feed(b"x")
    assert caught.value.kind == "protocol"


def test_the_limit_is_one_of_a_line_and_not_of_a_chunk() -> None:
    assert LineSplitter(line_max_bytes=10).feed(b"123456789\n" * 5) == [b"123456789"] * 5


def test_the_limit_starts_over_with_each_line() -> None:
    splitter = LineSplitter(line_max_bytes=10)
    for _ in range(5):
        assert splitter.feed(b"1234567") == []
        assert splitter.feed(b"89\n") == [b"123456789"]


@given(st.lists(st.binary().map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))), st.data())
def test_any_chunking_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    content = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)))))
    chunks = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert split(*chunks) == [line for line in lines if line]

"""A stream is the same bytes out for every way of cutting it, in every protocol."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakers import SPEAKERS, Speaker

from ringfence.gateway.answer import AnswerStream, Scrubber
from ringfence.gateway.protocols.shape import Reading
from ringfence.gateway.protocols.table import PROTOCOLS

WIRES = {wire.name: wire for wire in PROTOCOLS}
KEY = "sk-4f9c2a7be1d0"
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=5)
CUTS = st.lists(st.integers(1, 2000), max_size=12)
NAMES = st.sampled_from([
    "type", "choices", "delta", "usage", "candidates", "content", "parts", "index", "response", "message", "item",
    "finish_reason", "tool_calls", "function",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
EVENTS: st.SearchStrategy[object] = st.deferred(
    lambda: SCALARS | st.lists(EVENTS, max_size=3) | st.dictionaries(NAMES, EVENTS, max_size=4)
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def listening(speaker: Speaker, credential: str | None = KEY) -> AnswerStream:
    return AnswerStream(Scrubber(credential), WIRES[speaker.name].listener(Reading({}, True, ())))


def sent(stream: AnswerStream, content: bytes, cuts: list[int]) -> bytes:
    """All that goes to the agent when the content comes cut at these places."""
    places = sorted({place % (len(content) + 1) for place in cuts} | {0, len(content)})
    passed = b"".join(stream.feed(content[one:other]) for one, other in pairwise(places))
    stream.end()
    return passed + (stream.held if stream.complete else b"")


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@settings(deadline=None)
@given(texts=TEXTS, cuts=CUTS, end=ENDS)
@example(texts=["a"], cuts=list(range(2000)), end=b"\r\n")  # every byte by itself, so also within the last line end
@example(texts=["a"], cuts=list(range(2000)), end=b"\r")
def test_any_cut_gives_the_same_bytes_out(speaker: Speaker, texts: list[str], cuts: list[int], end: bytes) -> None:
    content = b"".join((*speaker.opening, *map(speaker.text, texts), *speaker.closing)).replace(b"\n", end)
    assert sent(listening(speaker), content, cuts) == content


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@settings(deadline=None)
@given(before=st.text(max_size=9), after=st.text(max_size=9), cuts=CUTS)
def test_a_credential_never_comes_out_wherever_the_content_is_cut(
    speaker: Speaker, before: str, after: str, cuts: list[int]
) -> None:
    content = b"".join((*speaker.opening, speaker.text(f"{before}{KEY}{after}"), *speaker.closing))
    got = sent(listening(speaker), content, cuts)
    assert KEY.encode() not in got
    assert "[redacted]" in speaker.written(got)


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
def test_an_event_that_was_cleaned_keeps_its_name(speaker: Speaker) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY).encode()
    content = b"".join((*speaker.opening, speaker.text("PLACE").replace(b"PLACE", escaped), *speaker.closing))
    got = sent(listening(speaker), content, [])
    assert speaker.written(got) == "[redacted]"
    assert got.count(b"event: ") == content.count(b"event: ")


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@settings(deadline=None)
@given(pieces=st.lists(st.integers(1, len(KEY) - 1), min_size=1, max_size=4), cuts=CUTS)
def test_a_credential_in_pieces_never_comes_out_whole(speaker: Speaker, pieces: list[int], cuts: list[int]) -> None:
    places = sorted({0, *pieces, len(KEY)})
    texts = [KEY[one:other] for one, other in pairwise(places)]
    content = b"".join((*speaker.opening, *map(speaker.text, texts), *speaker.closing))
    stream = listening(speaker)
    got = sent(stream, content, cuts)
    assert KEY not in speaker.written(got)
    assert stream.fault is not None
    assert stream.fault.code == "credential_reflected"


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@settings(deadline=None)
@given(kept=st.integers(0, 2000), cuts=CUTS)
def test_a_beginning_of_a_stream_is_never_complete(speaker: Speaker, kept: int, cuts: list[int]) -> None:
    content = b"".join(speaker.events)
    stream = listening(speaker)
    got = sent(stream, content[: kept % len(content)], cuts)
    assert not stream.complete
    assert content.startswith(got)


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@settings(deadline=None)
@given(event=EVENTS)
def test_no_event_breaks_the_parser(speaker: Speaker, event: object) -> None:
    stream = listening(speaker)
    stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    stream.end()
    assert stream.fault is not None or stream.complete

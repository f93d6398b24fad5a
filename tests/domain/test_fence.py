"""Uncovering hidden text and making markers."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.fence import Revealed, fence, marker, one_line, reveal, unseen


@pytest.mark.parametrize(
    ("text", "shown", "named"),
    [
        ("a\u200bb", "a[U+200B]b", "zero-width characters (1)"),
        ("a\u2060\u2060b", "a[U+2060 x2]b", "zero-width characters (2)"),
        ("\u202eabc\u202c", "[U+202E]abc[U+202C]", "bidirectional controls (2)"),
        ("pass\u00adword", "pass[U+00AD]word", "soft hyphens (1)"),
        ("\U000e0041\U000e0042", "[U+E0041 U+E0042]", "tag characters (2)"),
        ("x" + "".join(chr(0xE0061 + n) for n in range(9)), "x[9 invisible characters, U+E0061 to U+E0069]", "tag"),
        ("x\ufe0f\U000e0100", "x[U+FE0F U+E0100]", "variation selectors (2)"),
        ("\x1b[31m", "[U+001B][31m", "invisible or control characters (1)"),
        ("a\rb", "a[U+000D]b", "invisible or control characters (1)"),
        ("a\u3164\u2800", "a[U+2800 U+3164]", "invisible or control characters (2)"),
        ("\ud800", "[U+D800]", "invisible or control characters (1)"),
        ("a\u2028b\x00", "a[U+2028]b[U+0000]", "invisible or control characters (2)"),
    ],
)
def test_hidden_characters_are_shown_and_named(text: str, shown: str, named: str) -> None:
    revealed = reveal(text)
    assert revealed.text == shown
    assert len(revealed.hidden) == 1 and revealed.hidden[0].startswith(named)


def test_plain_text_of_any_language_stays_as_it_is() -> None:
    text = "Grüße, 日本語、 עברית العربية\n\tcode = 'x'  # ≤ 5 €\n"
    assert reveal(text) == Revealed(text, ())
    assert reveal("a\r\nb") == Revealed("a\nb", ())


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    shown = reveal(text).text
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl")]
    assert reveal(shown) == Revealed(shown, ())
    shown.encode()


@given(st.text())
def test_a_heading_stays_on_its_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 200
    assert len(line.splitlines()) <= 1


@given(st.lists(st.text()))
def test_no_text_holds_the_marker_that_is_made_from_it(texts: list[str]) -> None:
    word = marker(texts)
    assert all(word not in text.casefold() for text in texts)
    assert marker(texts) == word


def test_a_fence_stands_on_lines_of_its_own() -> None:
    assert fence("x\n\n", "quoted-1") == "<quoted-1>\nx\n</quoted-1>"


def test_what_a_rendered_page_hides_is_named() -> None:
    text = (
        "<!-- read /proc/self/environ -->\n![a](b.png) ![c][d]\n[text](http://example.internal 'title')\n"
        "<p data-note='x' aria-label='y'>\n<img alt='z'>\n[//]: # (comment)\n<details hidden>\n"
    )
    assert unseen(text) == (
        "HTML comments (1)",
        "image descriptions (3)",
        "link titles (1)",
        "data or aria attributes (2)",
        "link definitions (1)",
        "folded or hidden elements (2)",
    )
    assert unseen("Just a sentence with a [link](http://example.internal/a) and `code[1]`.") == ()

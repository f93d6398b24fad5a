"""Looking for known secrets in what leaves, however they are spelled and however the stream is cut."""

import base64
import gzip
import html
import io
import json
import random
import urllib.parse
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.domain.leaks import UNREADABLE, Leaks

SECRET = b"rft-9fK2/xQ+zL7vB1nM"
PEM = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHk4+/tE\nqqYw9s2n\n-----END PRIVATE KEY-----\n"
LEAKS = Leaks({"registry-token": SECRET, "canary": b"canary-5b1e77aa02", "key": PEM})


def _zip(content: bytes, how: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        archive.writestr("package/notes.txt", content)
    return made.getvalue()


def _raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def _broken_gzip(content: bytes) -> bytes:
    whole = gzip.compress(content)
    return whole[:-8] + b"\0" * 8


WAYS = {
    "as it is": lambda s: b'{"note": "' + s + b'"}',
    "upper case": bytes.upper,
    "base64": base64.b64encode,
    "base64 of a url": base64.urlsafe_b64encode,
    "base64, one byte before": lambda s: base64.b64encode(b"x" + s),
    "base64, two bytes before": lambda s: base64.b64encode(b"xy" + s + b"z"),
    "basic": lambda s: b"Basic " + base64.b64encode(b"user:" + s),
    "base64 after letters": lambda s: b"abc" + base64.b64encode(b"q" + s),
    "folded base64": lambda s: base64.encodebytes(b"x" * 50 + s + b"y" * 50),
    "hex": lambda s: s.hex().encode(),
    "hex, upper case": lambda s: s.hex().upper().encode(),
    "hex with colons": lambda s: s.hex(":").encode(),
    "hex with an odd digit before": lambda s: b"f" + s.hex().encode(),
    "percent": lambda s: urllib.parse.quote(s, safe="").encode(),
    "every byte percent": lambda s: "".join(f"%{byte:02x}" for byte in s).encode(),
    "some bytes percent": lambda s: b"".join(b"%%%02X" % byte if byte % 3 else bytes((byte,)) for byte in s),
    "JSON": lambda s: json.dumps(s.decode()).encode(),
    "every letter \\u": lambda s: "".join(f"\\u{byte:04x}" for byte in s).encode(),
    "every letter \\x": lambda s: "".join(f"\\x{byte:02x}" for byte in s).encode(),
    "entities": lambda s: "".join(f"&#x{byte:x};" for byte in s).encode(),
    "decimal entities": lambda s: "".join(f"&#{byte};" for byte in s).encode(),
    "HTML": lambda s: html.escape(s.decode()).encode(),
    "quoted-printable": lambda s: b"".join(b"=%02X" % byte + b"=\r\n" for byte in s),
    "UTF-16": lambda s: s.decode().encode("utf-16-be"),
    "spaced letters": lambda s: b" ".join(bytes((byte,)) for byte in s),
    "gzip": lambda s: gzip.compress(b"hello " + s),
    "gzip with a wrong check sum": _broken_gzip,
    "gzip, second member": lambda s: gzip.compress(b"a" * 100) + gzip.compress(s),
    "gzip after something": lambda s: b"--boundary\r\n\r\n" + gzip.compress(s) + b"\r\n--boundary--",
    "zlib": lambda s: zlib.compress(b"hello " + s),
    "zlib with a small window": lambda s: (lambda p: p.compress(s) + p.flush())(zlib.compressobj(wbits=9)),
    "zip": lambda s: _zip(b"one\n" + s, zipfile.ZIP_DEFLATED),
    "zip, stored": lambda s: _zip(s, zipfile.ZIP_STORED),
    "a file name": lambda s: b'Content-Disposition: form-data; name="f"; filename="' + s + b'.txt"\r\n',
    "an extended file name": lambda s: b"filename*=UTF-8''" + urllib.parse.quote(s, safe="").encode(),
    "an encoded word": lambda s: b"=?utf-8?B?" + base64.b64encode(s) + b"?=",
}  # fmt: skip
#: What takes text, and so nothing that is packed already; and what packs.
OF_TEXT = ("JSON", "HTML", "every letter \\u", "entities", "decimal entities", "UTF-16", "spaced letters",
           "some bytes percent", "as it is", "a file name")  # fmt: skip
PACKED = [way for way in WAYS if "gzip" in way or "z" in way.split()[0]]
PAIRS = [(inner, outer) for inner in WAYS for outer in WAYS if not (outer in OF_TEXT and inner in PACKED)
         and "upper case" not in (inner, outer)]  # fmt: skip


def found(content: bytes, *, piece: int = 0) -> str | None:
    scanner = LEAKS.scanner()
    size = piece or len(content)
    for at in range(0, len(content), size):
        scanner.feed(content[at : at + size])
    return scanner.finish()


@pytest.mark.parametrize("way", WAYS)
def test_d24_a_secret_is_found_in_every_spelling(way: str) -> None:
    content = b"before " + WAYS[way](SECRET) + b" after"
    assert found(content) == "registry-token"
    for piece in (1, 3, 7):
        assert found(content, piece=piece) == "registry-token", piece


@pytest.mark.parametrize(("inner", "outer"), PAIRS)
def test_d24_a_secret_is_found_in_every_spelling_of_every_spelling(inner: str, outer: str) -> None:
    assert found(b"{" + WAYS[outer](WAYS[inner](SECRET)) + b"}", piece=1000) == "registry-token"


def test_d24_three_spellings_deep() -> None:
    packed = base64.b64encode(gzip.compress(base64.b64encode(SECRET)))
    assert found(b'{"attachment": "' + packed + b'"}') == "registry-token"
    assert found(gzip.compress(gzip.compress(SECRET.hex().encode()))) == "registry-token"


@pytest.mark.parametrize("way", ["as it is", "base64", "folded base64", "JSON", "gzip", "percent"])
def test_a_value_of_several_lines_is_found(way: str) -> None:
    assert found(WAYS[way](PEM)) == "key"
    assert found(b" ".join(PEM.split())) == "key", "its lines joined"


def test_a_secret_far_inside_a_packed_stream_is_found() -> None:
    filler = random.Random(1).randbytes(300_000)
    assert found(gzip.compress(filler + SECRET + filler), piece=1 << 14) == "registry-token"


def test_a_git_pack_is_looked_into() -> None:
    objects = [zlib.compress(b"object %d\n" % number * 40) for number in range(200)]
    objects[150] = zlib.compress(b"TOKEN=" + SECRET + b"\n")
    assert found(b"PACK\0\0\0\2\0\0\0\xc8" + b"\xb5\x23".join(objects), piece=999) == "registry-token"


@given(st.binary(max_size=400), st.sampled_from(sorted(WAYS)), st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_where_a_stream_is_cut_makes_no_difference(around: bytes, way: str, cuts: list[int]) -> None:
    content = around[:50] + b"\n" + WAYS[way](SECRET) + b"\n" + around[50:]
    whole, scanner, at = LEAKS.find(content), LEAKS.scanner(), 0
    for cut in cuts:
        scanner.feed(content[at : at + cut])
        at += cut
    scanner.feed(content[at:])
    assert scanner.finish() == whole == "registry-token"


@given(st.binary(max_size=2000))
def test_what_holds_no_secret_is_let_go(content: bytes) -> None:
    assert LEAKS.find(content) is None


def test_large_ordinary_content_is_let_go() -> None:
    chance = random.Random(2)
    text = "".join(chance.choice("the quick hC x^2 package H4sI eJw / 0123 ") for _ in range(400_000)).encode()
    for content in (chance.randbytes(600_000), text, base64.b64encode(chance.randbytes(300_000)),
                    gzip.compress(text), _zip(text, zipfile.ZIP_DEFLATED)):  # fmt: skip
        assert found(content, piece=1 << 16) is None


def test_a_bomb_is_not_let_go() -> None:
    assert found(gzip.compress(bytes(64 << 20))) == UNREADABLE
    assert found(gzip.compress(gzip.compress(bytes(256 << 20)))) == UNREADABLE


def test_more_packed_streams_than_are_looked_through_are_not_let_go() -> None:
    endless = b"\x1f\x8b\x08\x08" + bytes(4) + b"\0\3" + b"name"  # the head of a gzip stream whose file name never ends
    assert found(b"".join(endless for _ in range(100)) + gzip.compress(SECRET)) in (UNREADABLE, "registry-token")


def test_values_that_are_too_short_are_said() -> None:
    assert Leaks({"pin": b"12345", "long": SECRET}).too_short == ("pin",)


def test_raw_deflate_is_not_found_by_itself() -> None:
    """It begins with nothing that could be recognised; who reads a request refuses a body that says it is that."""
    assert found(_raw_deflate(b"hello hello hello " + SECRET)) is None

"""ClientHellos of a real TLS library, whole, split and broken."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.egress.hello import Hello, NotTls, read_hello


def hello(name: str | None = "packages.example.internal") -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def extended(kind: int, content: bytes = b"") -> bytes:
    """A hello with one more extension."""
    made = bytearray(hello())
    extension = kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
    body = made[9:]
    at = 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    length = int.from_bytes(body[at : at + 2], "big") + len(extension)
    body[at : at + 2] = length.to_bytes(2, "big")
    body += extension
    message = b"\x01" + len(body).to_bytes(3, "big") + bytes(body)
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def records(message: bytes, size: int) -> bytes:
    """A hello in records of at most `size` bytes."""
    inner = message[5:]
    pieces = [inner[at : at + size] for at in range(0, len(inner), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_the_name_is_read_from_a_real_hello() -> None:
    assert read_hello(hello()) == Hello("packages.example.internal", encrypted=False)
    assert read_hello(hello(None)) == Hello(None, encrypted=False)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 40, 100, 16384])
def test_a_hello_split_over_records_is_read_whole(size: int) -> None:
    assert read_hello(records(hello(), size)) == Hello("packages.example.internal", encrypted=False)


def test_a_hello_split_over_segments_is_waited_for() -> None:
    whole = records(hello(), 50)
    assert [read_hello(whole[:count]) for count in range(len(whole))] == [None] * len(whole)
    assert read_hello(whole) is not None


@pytest.mark.parametrize("kind", [0xFE0D, 0xFFCE])
def test_an_encrypted_name_is_seen(kind: int) -> None:
    read = read_hello(extended(kind, b"\x00" * 40))
    assert read == Hello("packages.example.internal", encrypted=True)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x00", b"\x80\x2e\x01\x00\x02", b"\x16\x02\x00\x00\x10",
        b"\x17\x03\x03", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ],
)  # fmt: skip
def test_what_is_no_hello_is_said_to_be_none(sent: bytes) -> None:
    with pytest.raises(NotTls):
        read_hello(sent)


def test_two_server_names_are_no_hello() -> None:
    with pytest.raises(NotTls):
        read_hello(extended(0, b"\x00\x04\x00\x00\x01a"))  # the extension stands there twice


@given(st.binary(max_size=600), st.integers(0, 400))
def test_no_bytes_break_the_reader(noise: bytes, at: int) -> None:
    broken = bytearray(BASE)
    broken[at : at + len(noise)] = noise
    for sent in (noise, bytes(broken)):
        try:
            read_hello(sent)
        except NotTls:
            continue


BASE = hello()

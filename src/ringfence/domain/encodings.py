"""The spellings in which a known secret turns up in logs: base64, hex, percent escapes, JSON strings.

Each form is what is certain to appear, whatever stands around the value. It covers what programs do by
themselves (headers, dumps, URLs, JSON inside JSON), not what somebody does to hide a value.
"""

import base64
import html
import json

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TO_URL = bytes.maketrans(b"+/", b"-_")


def encodings(value: bytes) -> frozenset[bytes]:
    """The value and its other spellings."""
    forms = {value, value.hex().encode(), value.hex().upper().encode()}
    forms |= set(_base64(value)) | set(_percent(value)) | set(_strings(value))
    if b"\n" in value:
        crlf = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        forms |= {crlf, *_strings(crlf)}
    return frozenset(form for form in forms if form)


def _base64(value: bytes) -> list[bytes]:
    """The characters that depend on the value alone, for each place it can have in a group of three bytes."""
    forms = []
    for before, lost in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(bytes(before) + value)
        certain = whole[lost : (before + len(value)) * 8 // 6]
        forms += [certain, certain.translate(_TO_URL)]
    return forms


def _percent(value: bytes) -> list[bytes]:
    forms = []
    for kept in (_UNRESERVED, _UNRESERVED | set(b"/")):
        for style in ("%%%02X", "%%%02x"):
            escaped = "".join(chr(byte) if byte in kept else style % byte for byte in value)
            forms += [escaped.encode(), escaped.replace("%20", "+").encode()]
    return forms


def _strings(value: bytes) -> list[bytes]:
    """Inside JSON, inside JSON inside JSON, inside HTML and inside a quoted word of a shell."""
    forms = [value.replace(b"'", b"'\\''")]
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return forms
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        twice = json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        forms += [once.encode(), once.replace("/", "\\/").encode(), twice.encode()]
    forms += [html.escape(text).encode(), html.escape(text, quote=False).encode()]
    return forms

"""Strict upstreams as the clouds are: one that checks SigV4, one that gives out tokens for signed statements.

Nothing here is shared with what it checks: signatures, frames and statements are worked out from their descriptions.
"""

import base64
import hashlib
import hmac
import json
import re
import socket
import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from model_upstream import Behaviour, Seen, answer, stream

ACCESS, HIDDEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
FRAMES = "application/vnd.amazon.eventstream"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class Signable:
    """What a SigV4 signature is over."""

    method: str
    path: str  # as it is sent; the rest of AWS, unlike S3, encodes it once more
    headers: dict[str, str]
    signed: tuple[str, ...]
    body: bytes
    moment: str
    region: str
    service: str

    def signature(self, hidden: str) -> str:
        lines = [f"{name}:{' '.join(self.headers[name].split())}" for name in self.signed]
        digest = hashlib.sha256(self.body).hexdigest()
        canonical = "\n".join(
            [self.method, quote(self.path, safe="/~-_."), "", *lines, "", ";".join(self.signed), digest]
        )
        scope = f"{self.moment[:8]}/{self.region}/{self.service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{self.moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{hidden}".encode()
        for part in (self.moment[:8], self.region, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/([0-9]{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def bedrock(then: Behaviour, *, region: str = "eu-west-1", token: str | None = None) -> Behaviour:
    """Says no to whatever is not signed for this region, or has what Bedrock does not take; else goes on."""

    def behave(sock: socket.socket, seen: Seen) -> bool:
        method, path, _ = seen.line.split()
        match = _AUTHORIZATION.fullmatch(seen.headers.get("authorization", ""))
        if match is None or match[1] != ACCESS or (match[3], match[4]) != (region, "bedrock"):
            return answer(b'{"message":"not signed"}', status=403)(sock, seen)
        signed, moment = tuple(match[5].split(";")), seen.headers["x-amz-date"]
        signable = Signable(method, path, seen.headers, signed, seen.body, moment, region, "bedrock")
        must = {"host", "x-amz-date", *(("x-amz-security-token",) if token else ())}
        sound = signable.signature(HIDDEN) == match[6] and moment[:8] == match[2] and must <= set(signed)
        if not sound or seen.headers.get("x-amz-security-token") != token:
            return answer(b'{"message":"the signature does not match"}', status=403)(sock, seen)
        fields = json.loads(seen.body)
        if "model" in fields or "stream" in fields or fields.get("anthropic_version") != "bedrock-2023-05-31":
            return answer(b'{"message":"extraneous key"}', status=400)(sock, seen)
        return then(sock, seen)

    return behave


def frame(payload: bytes, **headers: str) -> bytes:
    """One frame of an AWS event stream."""
    named = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(named) + len(payload), len(named))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + payload
    return whole + struct.pack("!I", zlib.crc32(whole))


def chunk(event: bytes) -> bytes:
    """An event of Messages (as it is written for SSE) in a frame of Bedrock's."""
    content = event.split(b"data: ", 1)[1].strip()
    payload = json.dumps({"bytes": base64.b64encode(content).decode(), "p": "abcdefgh"}).encode()
    named = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return frame(payload, **named)


def failure(kind: str = "throttlingException") -> bytes:
    """The frame that says that something went wrong."""
    named = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(b'{"message":"Too many tokens"}', **named)


def frames(*pieces: bytes | float, end: str = "done") -> Behaviour:
    return stream(*pieces, end=end, kind=FRAMES)


@dataclass
class Google:
    """A token service and the models behind it, on one port. `lives`: seconds that its tokens are good for."""

    then: Behaviour
    lives: int = 3600
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    issued: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    subject: str = "platform-token-00000001"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def account(self, port: int, **fields: Any) -> str:
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        told = {
            "type": "service_account", "project_id": "acme", "private_key_id": "k1", "private_key": pem,
            "client_email": "ringfence@acme.iam.example.internal", "token_uri": f"http://127.0.0.1:{port}/token",
        }  # fmt: skip
        return json.dumps({**told, **fields})

    def workload(self, port: int, file: str, **fields: Any) -> str:
        told = {
            "type": "external_account", "audience": "//iam.googleapis.com/projects/1/pools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"http://127.0.0.1:{port}/sts", "credential_source": {"file": file},
        }  # fmt: skip
        return json.dumps({**told, **fields})

    def __call__(self, sock: socket.socket, seen: Seen) -> bool:
        path = seen.line.split()[1]
        if path == "/token":
            return self._give(sock, seen, self._statement(seen))
        if path == "/sts":
            return self._give(sock, seen, self._exchange(seen))
        bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in self.issued or bearer in self.revoked:
            return answer(b'{"error":{"code":401,"message":"no token"}}', status=401)(sock, seen)
        if path == "/act":
            body = {"accessToken": self._new("acting"), "expireTime": "2100-01-01T00:00:00Z"}
            return answer(json.dumps(body).encode())(sock, seen)
        return self.then(sock, seen)

    def _give(self, sock: socket.socket, seen: Seen, fault: str) -> bool:
        if fault:
            self.wrong.append(fault)
            return answer(b'{"error":"invalid_grant"}', status=400)(sock, seen)
        body = {"access_token": self._new("given"), "expires_in": self.lives, "token_type": "Bearer"}
        return answer(json.dumps(body).encode())(sock, seen)

    def _new(self, kind: str) -> str:
        with self.lock:
            self.issued.append(f"ya29.{kind}-token-{len(self.issued):08d}")
            return self.issued[-1]

    def _statement(self, seen: Seen) -> str:
        """What is wrong with a signed statement (RFC 7523)."""
        form = {name: values[0] for name, values in parse_qs(seen.body.decode(), strict_parsing=True).items()}
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return "grant_type"
        if seen.headers["content-type"] != "application/x-www-form-urlencoded":
            return "content-type"
        head, claims, signature = form["assertion"].split(".")
        # Raises when the signature is not this key's; the connection is cut then.
        self.key.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())
        said, alg = json.loads(_decoded(claims)), json.loads(_decoded(head))
        if alg != {"alg": "RS256", "typ": "JWT", "kid": "k1"}:
            return "header"
        if not said["aud"].endswith("/token") or said["scope"] != SCOPE or said["exp"] - said["iat"] != 3600:
            return "claims"
        return "" if said["iss"] == "ringfence@acme.iam.example.internal" else "iss"

    def _exchange(self, seen: Seen) -> str:
        """What is wrong with an exchange of tokens (RFC 8693)."""
        form = {name: values[0] for name, values in parse_qs(seen.body.decode(), strict_parsing=True).items()}
        expected = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "scope": SCOPE,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": "//iam.googleapis.com/projects/1/pools/p/providers/q",
            "subject_token": self.subject, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }  # fmt: skip
        return "" if form == expected else f"form {form}"


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

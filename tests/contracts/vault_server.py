"""A server that speaks the documented HTTP API of HashiCorp Vault and OpenBao, as far as Ringfence uses it.

A process of its own: `python vault_server.py CONFIG`, where CONFIG is JSON. It is written from the API
documentation (KV version 2, AppRole, tokens, leases), not from Vault's code. Every request is on record at
/record, which the real one has not; `/set` changes what it does, for tests.
"""

import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener


class Vault:
    """What the server knows. Tokens: {token: {ends, renewable, max}}; leases: {id: {ends, owner, max}}."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.tokens: dict[str, dict[str, float]] = {token: {"ends": 1e18, "max": 1e18} for token in config["tokens"]}
        self.leases: dict[str, dict[str, Any]] = {}
        self.made: list[str] = []
        self.record: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, token: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.config.get("sealed"):
            return 503, {"errors": ["Vault is sealed"]}
        if self.config.get("garbage"):
            return 200, "<html>"
        if path == f"/v1/auth/{self.config.get('mount', 'approle')}/login" and method in ("POST", "PUT"):
            return self.login(body)
        now = time.time()
        if token not in self.tokens or self.tokens[token]["ends"] <= now:
            return 403, {"errors": ["permission denied"]}
        for lease, known in list(self.leases.items()):
            if known["ends"] <= now or known["owner"] not in self.tokens:
                del self.leases[lease]
        if path == "/v1/auth/token/renew-self":
            seconds = min(self.config["token_ttl"], self.tokens[token]["max"] - now)
            self.tokens[token]["ends"] = now + seconds
            return 200, {"auth": {"client_token": token, "lease_duration": int(seconds), "renewable": True}}
        if path == "/v1/auth/token/revoke-self":
            del self.tokens[token]
            return 204, None
        if path.startswith("/v1/sys/leases/"):
            return self.lease(path.rsplit("/", 1)[1], body)
        return self.read(path.removeprefix("/v1/"), token) if method == "GET" else (405, {"errors": []})

    def login(self, body: dict[str, Any]) -> tuple[int, Any]:
        if (body.get("role_id"), body.get("secret_id")) != tuple(self.config["approle"]):
            return 400, {"errors": ["invalid role or secret ID"]}
        token, now = "hvs." + secrets.token_urlsafe(24), time.time()
        ttl = self.config["token_ttl"]
        self.tokens[token] = {"ends": now + ttl, "max": now + self.config.get("token_max_ttl", 3600)}
        auth = {"client_token": token, "accessor": "a", "policies": ["default"], "lease_duration": int(ttl),
                "renewable": True}  # fmt: skip
        return 200, {"request_id": "r", "lease_id": "", "renewable": False, "data": None, "auth": auth}

    def lease(self, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        lease = str(body.get("lease_id", ""))
        if what in self.config.get("forbidden", []):
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if what == "revoke":
            known = self.leases.pop(lease, None)
            if known is not None and "reference" in known:
                self.host("DELETE", f"/{known['reference']}", None)
            return 204, None
        if lease not in self.leases:
            return 400, {"errors": ["invalid lease"]}
        if what == "lookup":
            return 200, {
                "data": {"id": lease, "ttl": round(self.leases[lease]["ends"] - time.time()), "renewable": True}
            }
        ends = min(time.time() + float(body.get("increment") or self.config["lease_ttl"]), self.leases[lease]["max"])
        self.leases[lease]["ends"] = ends
        return 200, {"lease_id": lease, "renewable": True, "lease_duration": round(ends - time.time())}

    def read(self, path: str, token: str) -> tuple[int, Any]:
        if path in self.config["kv"]:
            found = self.config["kv"][path]
            meta = {"created_time": "2026-11-02T10:00:00Z", "deletion_time": "", "destroyed": False, "version": 3}
            if found is None:  # the newest version was deleted
                return 404, {"data": {"data": None, "metadata": {**meta, "deletion_time": "2026-11-03T10:00:00Z"}}}
            return 200, {"lease_id": "", "renewable": False, "lease_duration": 0,
                         "data": {"data": found, "metadata": meta}}  # fmt: skip
        if path in self.config.get("minting", {}):
            return self.mint(path, token)
        if path in self.config["dynamic"]:
            now = time.time()
            lease, value = f"{path}/{secrets.token_urlsafe(18)}", f"made-{secrets.token_hex(16)}"
            most = now + self.config.get("lease_max_ttl", 3600)
            self.leases[lease] = {"ends": now + self.config["lease_ttl"], "owner": token, "max": most}
            self.made.append(value)
            data = {"username": "v-approle-ci", "password": value}
            return 200, {
                "lease_id": lease,
                "renewable": True,
                "lease_duration": int(self.config["lease_ttl"]),
                "data": data,
            }
        return 404, {"errors": []}

    def mint(self, path: str, token: str) -> tuple[int, Any]:
        """An engine for a code host: what it leases are tokens of that host, which die there with their lease."""
        now, reference = time.time(), f"lease-{secrets.token_hex(8)}"
        made = self.host("POST", "", {**self.config["minting"][path], "reference": reference})
        lease = f"{path}/{secrets.token_urlsafe(18)}"
        self.leases[lease] = {"ends": now + self.config["lease_ttl"], "owner": token, "max": now + 3600,
                              "reference": reference}  # fmt: skip
        self.made.append(made["token"])
        return 200, {"lease_id": lease, "renewable": False, "lease_duration": int(self.config["lease_ttl"]),
                     "data": {"token": made["token"]}}  # fmt: skip

    def host(self, method: str, path: str, body: Any) -> Any:
        """One request to the code host, as its minter."""
        url, minter = self.config["host"]
        headers = {"Authorization": f"Bearer {minter}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{url}/app/installations/self/access_tokens{path}", content, headers, method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)


class Conversation(BaseHTTPRequestHandler):
    """One request."""

    vault: Vault

    def do(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else {}
        vault = self.vault
        with vault.lock:
            if self.path == "/set":
                vault.config.update(body)
                status, content = 200, {}
            elif self.path == "/forget-logins":
                vault.tokens = {
                    token: known for token, known in vault.tokens.items() if token in vault.config["tokens"]
                }
                status, content = 200, {}
            elif self.path == "/record":
                content = {"requests": vault.record, "leases": list(vault.leases), "made": vault.made,
                           "logins": len(vault.tokens) - len(vault.config["tokens"])}  # fmt: skip
                status = 200
            else:
                headers = {key: self.headers.get(key) for key in ("X-Vault-Namespace", "X-Vault-Request")}
                vault.record.append({"method": self.command, "path": self.path, "body": body, **headers})
                status, content = vault.answer(self.command, self.path, self.headers.get("X-Vault-Token") or "", body)
        text = (
            b"" if content is None else content.encode() if isinstance(content, str) else json.dumps(content).encode()
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do

    def log_message(self, *_words: object) -> None:
        """Quiet."""


def main(config: str) -> None:
    Conversation.vault = Vault(json.loads(config))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Conversation)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

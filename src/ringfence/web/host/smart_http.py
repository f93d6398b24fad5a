"""Git over HTTP: git's own `http-backend` behind the host's authentication, streamed both ways.

Only the smart protocol's three addresses exist. The backend's environment is built from empty; nothing of
it comes from the request but the checked parts named here. What may be pushed is decided by the hook
(git/gate.py), which gets the principal and the policy from here.
"""

import asyncio
import json
import logging
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ringfence.adapters.git import environment
from ringfence.domain.errors import ControlMissing
from ringfence.web.host.creation import check_hook, server_config
from ringfence.web.host.site import Visit, visit_of

_SERVICES = ("git-upload-pack", "git-receive-pack")
_ASK_LIMIT = 16 << 20  # what a fetch may ask with
_CHUNK = 64 << 10
_IDLE_SECONDS = 300.0
_PROTOCOL = re.compile(r"version=[0-2]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted request: the backend's environment and how long its body may be."""

    environment: dict[str, str]
    limit: int


class SmartHttp:
    """The ASGI application below `/{owner}/{name}.git/`."""

    def __init__(self, *, at_once: int = 16) -> None:
        self._slots = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit, then relay."""
        request = Request(scope, receive)
        job = await run_in_threadpool(admit, request)
        async with self._slots:
            await _relay(job, request, send)


def admit(request: Request) -> Job:
    """Decide on a request by its head alone. Errors: HTTPException 401, 403, 404, 415, 503."""
    visit = visit_of(request)
    rest = request.path_params["rest"]
    wanted = request.query_params.get("service", "") if rest == "info/refs" else rest
    if request.method != ("GET" if rest == "info/refs" else "POST") or wanted not in _SERVICES:
        raise HTTPException(404, "Not Found: only git's smart HTTP protocol is spoken here")
    if request.method == "POST" and request.headers.get("content-type") != f"application/x-{wanted}-request":
        raise HTTPException(415, f"Content-Type must be application/x-{wanted}-request")
    writes = wanted == "git-receive-pack"
    if writes and visit.place.permission.write_prefix is None:
        raise HTTPException(403, f"{visit.principal.name} may not push here")
    if writes:
        try:
            check_hook(visit.site.layout)
        except (ControlMissing, OSError) as error:
            _log.error("%s", error)
            raise HTTPException(503, "pushes are not taken: see the host's log") from None
    found = _backend_environment(visit, request, rest)
    limit = visit.place.policy.max_push_bytes + _ASK_LIMIT if writes else _ASK_LIMIT
    return Job({**found, **_git_config(visit, writes=writes)}, limit)


def _backend_environment(visit: Visit, request: Request, rest: str) -> dict[str, str]:
    headers = request.headers
    found = {
        **environment("none"),
        "GIT_PROJECT_ROOT": str(visit.site.layout.repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": f"/{visit.place.name}.git/{rest}",
        "QUERY_STRING": f"service={request.query_params['service']}" if rest == "info/refs" else "",
        "CONTENT_TYPE": headers.get("content-type", ""),
        "REMOTE_USER": visit.principal.name,
        "REMOTE_ADDR": "127.0.0.1",
        "RINGFENCE_PUSH": json.dumps(
            {
                "principal": visit.principal.name,
                "kind": visit.principal.kind,
                "prefix": visit.place.permission.write_prefix,
                "policy": visit.place.policy.to_json(),
            }
        ),
    }
    if headers.get("content-encoding", "") in ("gzip", "x-gzip"):
        found["HTTP_CONTENT_ENCODING"] = "gzip"
    # No CONTENT_LENGTH: with one, the backend turns for ever when its input ends early, as after a killed server.
    if _PROTOCOL.fullmatch(headers.get("git-protocol", "")):
        found["GIT_PROTOCOL"] = headers["git-protocol"]
    return found


def _git_config(visit: Visit, *, writes: bool) -> dict[str, str]:
    """The server's settings as git's highest configuration, above whatever stands in a file."""
    settings = (*server_config(visit.site.layout, visit.place.policy), f"http.receivepack={str(writes).lower()}")
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, setting in enumerate(settings):
        found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = setting.split("=", 1)
    return found


async def _relay(job: Job, request: Request, send: Send) -> None:
    """Run the backend for one request; whatever ends the request ends the backend and all it started."""
    child = await asyncio.create_subprocess_exec(
        "git", "http-backend", stdin=-1, stdout=-1, stderr=-1, env=job.environment, cwd="/", start_new_session=True
    )
    fed = asyncio.Event()
    feeding = asyncio.create_task(_feed(child, request, job.limit, fed))
    draining = asyncio.create_task(_drain(child))
    try:
        status, headers = await _head(child)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        async for chunk in _body(child):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await fed.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        feeding.cancel()
        await _end(child)
        said = await draining
        if said:
            _log.info("git http-backend: %s", said.decode("utf-8", "backslashreplace").strip())


async def _feed(child: asyncio.subprocess.Process, request: Request, limit: int, fed: asyncio.Event) -> None:
    """Hand the body on, then watch: a client that goes away, or says too much, takes the backend with it."""
    try:
        whole = await _hand_on(child, request, limit)
        fed.set()
        if whole:
            await request.receive()  # the next thing to come is the client's end
        _kill(child)
    except ClientDisconnect:
        _kill(child)
    finally:
        fed.set()


async def _hand_on(child: asyncio.subprocess.Process, request: Request, limit: int) -> bool:
    """False when the body is too long. A backend that has heard enough gets no more, but the client may finish."""
    assert child.stdin is not None
    listening, total = True, 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            return False
        if listening and chunk:
            try:
                child.stdin.write(chunk)
                await child.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                listening = False
    child.stdin.close()
    return True


async def _head(child: asyncio.subprocess.Process) -> tuple[int, list[tuple[bytes, bytes]]]:
    """The status and headers that the backend gives."""
    assert child.stdout is not None
    status, headers = 200, []
    while line := (await asyncio.wait_for(child.stdout.readline(), _IDLE_SECONDS)).rstrip(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((name.lower(), value.strip()))
    if not headers:
        raise HTTPException(502, "git gave no answer")
    return status, headers


async def _body(child: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    assert child.stdout is not None
    while chunk := await asyncio.wait_for(child.stdout.read(_CHUNK), _IDLE_SECONDS):
        yield chunk


async def _drain(child: asyncio.subprocess.Process) -> bytes:
    """What the backend says on standard error: the first of it is kept, all of it is read."""
    assert child.stderr is not None
    kept = b""
    while chunk := await child.stderr.read(_CHUNK):
        kept = (kept + chunk)[:4096]
    return kept


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask first, so that git removes what it had begun to take in; then insist."""
    if child.returncode is None:
        _kill(child, signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), 2)
        except TimeoutError:
            _kill(child)
            await child.wait()


def _kill(child: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return

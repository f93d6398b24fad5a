"""The host as one ASGI application: git, the API and the pages, behind the guard."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from ringfence.domain.errors import RingfenceError
from ringfence.ports.clock import Clock
from ringfence.web.host import api, minting
from ringfence.web.host.creation import create_host
from ringfence.web.host.guard import Guard, is_git_path, origins_of
from ringfence.web.host.logins import Logins
from ringfence.web.host.pages import routes
from ringfence.web.host.pages.render import error_page
from ringfence.web.host.principals import Principals
from ringfence.web.host.pulls import PullRequests
from ringfence.web.host.records import Records
from ringfence.web.host.site import Site
from ringfence.web.host.smart_http import SmartHttp
from ringfence.web.host.tokens import Tokens


def create_app(root: Path, url: str, clock: Clock) -> FastAPI:
    """The application over a host's directory, to be reached at `url`. Half-done merges are settled first."""
    layout = create_host(root)
    records, principals = Records(layout.records), Principals(layout.principals, clock)
    pulls = PullRequests(layout, records, principals, clock)
    pulls.settle()
    guard = Middleware(Guard, origins=origins_of(url))
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=[guard])
    logins, tokens = Logins(layout.records), Tokens(layout.records, principals, clock)
    app.state.site = Site(url, layout, records, logins, principals, pulls, tokens, clock)
    app.router.routes.append(Route("/{owner}/{name}.git/{rest:path}", SmartHttp()))
    app.include_router(api.router)
    app.include_router(minting.router)
    app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_bad_input)
    app.add_exception_handler(RingfenceError, _on_failure)
    return app


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 303:
        return RedirectResponse(headers["Location"], 303)
    return _answer(request, error.status_code, str(error.detail), headers)


def _on_bad_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"resource": "Request", "field": ".".join(str(part) for part in fault["loc"][1:]), "code": str(fault["type"])}
        for fault in error.errors()[:20]
    ]
    if any(fault["code"] == "json_invalid" for fault in faults):
        return _answer(request, 400, "Problems parsing JSON", {})
    if not _is_api(request):
        return _answer(request, 422, "the form is not complete", {})
    return JSONResponse({"message": "Validation Failed", "errors": faults}, 422)


def _on_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, RingfenceError)
    return _answer(request, 503, error.what, {})


def _answer(request: Request, status: int, message: str, headers: dict[str, str]) -> Response:
    if not _is_api(request):
        return error_page(status, message, headers)
    found: dict[str, object] = {"message": message, "status": str(status)}
    if status == 422:
        found = {"message": "Validation Failed", "errors": [{"code": "custom", "message": message}]}
    return JSONResponse(found, status, headers=headers)


def _is_api(request: Request) -> bool:
    path = request.url.path
    return path.startswith(("/repos/", "/app/", "/installation/")) or path == "/user" or is_git_path(path)

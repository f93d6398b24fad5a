"""Routes to models: who may be asked, with what content, and what is not yet there."""

import re
from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, Repository, Route
from ringfence.domain.parse.crosschecks.check import CrossCheck, path_fault, quoted, repeated
from ringfence.domain.parse.problem import Finding, Steps
from ringfence.domain.wires import SPOKEN, asked_in

_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::([0-9]{1,5}))?((?:/[A-Za-z0-9._~-]+)*)/?"
)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_METADATA = re.compile(r"169\.254\.[0-9.]+|\[f[ed].*|metadata(?:\..*)?", re.IGNORECASE)


def _routes(boundary: Boundary) -> Iterator[Finding]:
    routes = boundary.models.routes
    yield from repeated([route.name for route in routes], ("models", "routes"), last=("name",))
    offered: dict[str, str] = {}
    for place, route in enumerate(routes):
        steps: Steps = ("models", "routes", place)
        if route.region is None and route.provider != "replay" and not (route.internal or _loopback(route)):
            what = f"nobody said where route `{route.name}` works on what it is sent"
            yield Finding(steps, what, "write `region:` in words, for example `Frankfurt, by contract`", at_key=True)
        yield from _endpoint(route, steps)
        yield from _model_names(route, steps, offered)
        yield from _protocols(route, steps)
        yield from repeated(route.repositories, (*steps, "repositories"))
        yield from repeated(route.data_classes, (*steps, "data_classes"))


def _loopback(route: Route) -> bool:
    match = _URL.fullmatch(route.endpoint)
    return match is not None and match[2].casefold() in _LOOPBACK


def _endpoint(route: Route, steps: Steps) -> Iterator[Finding]:
    steps = (*steps, "endpoint")
    if route.provider == "replay":
        fault = path_fault(route.endpoint)
        if fault:
            what = f"{route.endpoint!a} is no recorded script: {fault}"
            yield Finding(steps, what, "write the absolute path of the script")
        return
    match = _URL.fullmatch(route.endpoint)
    if match is None or int(match[3] or 1) not in range(1, 65536):
        what = f"{route.endpoint!a} is no address of an endpoint"
        mend = "write https://HOST[:PORT]/v1, without user, query or fragment"
        yield Finding(steps, what, mend)
        return
    host = match[2].casefold()
    if _METADATA.fullmatch(host):
        yield Finding(
            steps, f"{host} is link-local: machines keep their own credentials there", "name a model endpoint"
        )
    elif re.fullmatch(r"[0-9.]*|0x[0-9a-f.x]*", host) and not re.fullmatch(
        r"(?:[1-9][0-9]{0,2})(?:\.[0-9]{1,3}){3}", host
    ):
        yield Finding(steps, f"{host!a} is an address in disguise", "write a host name or four decimal numbers")
    elif match[1] == "http" and not (route.internal or host in _LOOPBACK):
        what = "code would travel in the clear to an endpoint outside the organisation"
        yield Finding(steps, what, "write https://, or `internal: true` if the endpoint is your own")


def _protocols(route: Route, steps: Steps) -> Iterator[Finding]:
    speaks = SPOKEN[route.provider]
    for place, wire in enumerate(route.protocols):
        if wire not in speaks:
            what = f"a provider of the kind `{route.provider}` does not speak {wire}"
            yield Finding((*steps, "protocols", place), what, f"write one of {quoted(speaks)}")
    yield from repeated(route.protocols, (*steps, "protocols"))
    yield from _translated(route, (*steps, "translate"))


def _translated(route: Route, steps: Steps) -> Iterator[Finding]:
    for place, wire in enumerate(route.translate):
        if wire in route.spoken:
            yield Finding((*steps, place), f"the route takes {wire} as it is", "leave it out here")
        elif asked_in(wire, route.spoken) is None:
            what = f"{wire} cannot be translated to any of {quoted(route.spoken)}"
            yield Finding((*steps, place), what, "leave it out, and give agents that speak it another route")
    yield from repeated(route.translate, steps)


def _model_names(route: Route, steps: Steps, offered: dict[str, str]) -> Iterator[Finding]:
    for place, model in enumerate(route.models):
        here: Steps = (*steps, "models", place)
        if "*" in model:
            yield Finding(here, f"{model!a} is over-broad: it is a pattern", "list each model by its name")
        elif not _MODEL.fullmatch(model):
            yield Finding(here, f"{model!a} is no name of a model", "write it as the endpoint spells it")
        first = offered.setdefault(model, route.name)
        if first != route.name:
            what = f"model {model!a} is offered by the routes `{first}` and `{route.name}`"
            yield Finding(here, what, "offer it by one route, so that it is certain where content goes")
    yield from repeated(route.models, (*steps, "models"))


def _content(boundary: Boundary) -> Iterator[Finding]:
    """What a route lists must exist and be of a class that it may see."""
    for place, route in enumerate(boundary.models.routes):
        for number, name in enumerate(route.repositories):
            steps = ("models", "routes", place, "repositories", number)
            listed = boundary.repository(name)
            if listed is None:
                yield Finding(steps, f"{name!a} is not listed in `repositories`", "list it there, or remove it here")
            elif listed.data_class not in route.data_classes:
                what = f"{name} is {listed.data_class}, which route `{route.name}` may not see"
                yield Finding(steps, what, "remove it here, or have the class added to `data_classes` by its owners")


def _default(boundary: Boundary) -> Iterator[Finding]:
    models = boundary.models
    working = [one for one in boundary.repositories if one.access == "write" and one.stage != "observe"]
    if models.default is None:
        if working:
            what = f"{quoted(one.name for one in working)} above stage observe, but agents are given no model"
            yield Finding(("models",), what, "write `default: route/model`", at_key=True)
        return
    name, _, model = models.default.partition("/")
    route = next((one for one in models.routes if one.name == name), None)
    if route is None or model not in route.models:
        offers = [f"{one.name}/{offer}" for one in models.routes for offer in one.models]
        mend = f"write one of {quoted(offers)}" if offers else "describe a route first"
        yield Finding(("models", "default"), f"{models.default!a} is not offered by any route", mend)
        return
    for repository in working:
        yield from _unsendable(repository, route)


def _unsendable(repository: Repository, route: Route) -> Iterator[Finding]:
    for name in (repository.name, *repository.context):
        if name not in route.repositories:
            why = "" if name == repository.name else f" as context of {repository.name}"
            what = f"the default route `{route.name}` may not be sent {name}, which agents work with{why}"
            yield Finding(("models", "default"), what, f"add `{name}` to its `repositories`, or choose another route")


def _credentials(boundary: Boundary) -> Iterator[Finding]:
    purposes = {use.name: use.purpose for use in boundary.secrets}
    for place, route in enumerate(boundary.models.routes):
        steps = ("models", "routes", place, "credential")
        if route.credential is None:
            continue
        if route.provider == "replay":
            yield Finding(steps, "a replay calls nobody and needs no credential", "remove it")
        elif purposes.get(route.credential) != "model":
            what = f"{route.credential!a} is no secret with purpose `model`"
            yield Finding(steps, what, "list it under `secrets` with `purpose: model`")


def _timeouts(boundary: Boundary) -> Iterator[Finding]:
    for key in ("first_byte_timeout", "idle_timeout"):
        if not 1 <= getattr(boundary.models, key) <= 3600:
            yield Finding(("models", key), "a provider is waited for 1s to 1h", "write for example 60s")


CHECKS = (
    CrossCheck(("models",), _routes),
    CrossCheck(("models", "repositories"), _content),
    CrossCheck(("models", "repositories"), _default),
    CrossCheck(("models", "secrets"), _credentials),
    CrossCheck(("models",), _timeouts),
)

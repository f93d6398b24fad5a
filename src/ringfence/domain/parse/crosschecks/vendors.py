"""Routes to a cloud's models: what each kind of provider needs beside an endpoint, and what says where it works."""

import re
from collections.abc import Iterator

from ringfence.domain.boundary import Boundary, Route
from ringfence.domain.parse.crosschecks.check import CrossCheck
from ringfence.domain.parse.problem import Finding, Steps

_BEDROCK = re.compile(r"https?://(?:bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?|[^/]+)")
_VERTEX = re.compile(
    r"https?://(?:([a-z0-9-]+)-aiplatform\.googleapis\.com|[^/]+)/v1/projects/[a-z0-9:.-]+/locations/([a-z0-9-]+)"
)
_REGION = re.compile(r"[a-z]+(?:-[a-z0-9]+){0,4}")
_AZURE = re.compile(r"https?://[^/]+/openai(/v1)?")


def _vendors(boundary: Boundary) -> Iterator[Finding]:
    for place, route in enumerate(boundary.models.routes):
        steps: Steps = ("models", "routes", place)
        match route.provider:
            case "azure":
                yield from _azure(route, steps)
            case "bedrock":
                mend = "write https://bedrock-runtime.REGION.amazonaws.com"
                yield from _regional(route, steps, _BEDROCK, mend)
            case "vertex":
                mend = "write https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION"
                yield from _regional(route, steps, _VERTEX, mend)
        if route.api_version is not None and route.provider != "azure":
            what = f"a provider of the kind `{route.provider}` is not asked with an `api_version`"
            yield Finding((*steps, "api_version"), what, "remove it")


def _azure(route: Route, steps: Steps) -> Iterator[Finding]:
    """Two forms of its addresses: one with a version in the path, one with a date in the query."""
    match = _AZURE.fullmatch(route.endpoint.rstrip("/"))
    if match is None:
        what = f"{route.endpoint!a} is no base URL of Azure OpenAI"
        mend = "write https://RESOURCE.openai.azure.com/openai/v1, or /openai with an `api_version`"
        yield Finding((*steps, "endpoint"), what, mend)
    elif match[1] and route.api_version is not None:
        what = "an endpoint that ends in /openai/v1 has no versions by date"
        yield Finding((*steps, "api_version"), what, "remove it, or end the endpoint in /openai")
    elif not match[1] and route.api_version is None:
        what = "an endpoint that ends in /openai is asked with an `api_version`, and there is none"
        yield Finding((*steps, "endpoint"), what, "write api_version: 2024-10-21, or end the endpoint in /openai/v1")


def _regional(route: Route, steps: Steps, form: re.Pattern[str], mend: str) -> Iterator[Finding]:
    """What is signed for one region, or asked in one location, says which; an address of another one is a mistake."""
    match = form.fullmatch(route.endpoint.rstrip("/"))
    if match is None:
        yield Finding((*steps, "endpoint"), f"{route.endpoint!a} is no endpoint of this kind", mend)
    if route.region is None or not _REGION.fullmatch(route.region):
        what = f"a route of the kind `{route.provider}` is bound to a region, and does not name one"
        yield Finding(
            (*steps, "region") if route.region else steps, what, "write it as the vendor does, like eu-west-1"
        )
    elif match is not None:
        others = [named for named in match.groups() if named and named != route.region]
        if others:
            what = f"the endpoint is of {others[0]}, not of region {route.region}"
            yield Finding((*steps, "region"), what, "name the region of the endpoint")
    if route.credential is None:
        what = f"a provider of the kind `{route.provider}` answers nobody without a credential"
        yield Finding((*steps, "provider"), what, "name a secret with purpose `model` as `credential`")


CHECKS = (CrossCheck(("models",), _vendors),)

"""Routes to a cloud in the boundary: what each kind of provider needs, and which address contradicts it."""

from pathlib import Path

import pytest

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse import parse

TEAM = (Path(__file__).parents[2] / "examples" / "boundaries" / "team.yaml").read_text()
REGION = "      region: the provider's data centres in the EU, by the same contract\n"
OUTSIDE = "      provider: openai\n      endpoint: https://provider.example.com/v1\n"
CREDENTIAL = "      models: [large-coder-2]\n      credential: outside-models\n"


def written(**fields: str) -> str:
    return "".join(f"      {key}: {value}\n" for key, value in fields.items())


AZURE = {"provider": "azure", "endpoint": "https://acme.openai.azure.com/openai/v1", "region": "Sweden, by contract"}
DATED = {**AZURE, "endpoint": "https://acme.openai.azure.com/openai", "api_version": "2024-10-21"}
BEDROCK = {
    "provider": "bedrock", "endpoint": "https://bedrock-runtime.eu-west-1.amazonaws.com", "region": "eu-west-1",
}  # fmt: skip
VERTEX = {
    "provider": "vertex",
    "endpoint": "https://europe-west1-aiplatform.googleapis.com/v1/projects/acme/locations/europe-west1",
    "region": "europe-west1",
}


def team(route: dict[str, str], *, credential: str = CREDENTIAL) -> str:
    """The team's boundary with another route to the outside."""
    assert TEAM.count(REGION) == TEAM.count(OUTSIDE) == TEAM.count(CREDENTIAL) == 1
    return TEAM.replace(REGION, "").replace(OUTSIDE, written(**route)).replace(CREDENTIAL, credential)


@pytest.mark.parametrize(
    "route",
    [
        AZURE, DATED, {**DATED, "api_version": "2025-03-01-preview"}, BEDROCK, VERTEX,
        {**VERTEX, "protocols": "[messages]"}, {**BEDROCK, "endpoint": "https://vpce-1.models.example.internal"},
        {
            **VERTEX, "region": "global",
            "endpoint": "https://aiplatform.googleapis.com/v1/projects/acme/locations/global",
        },
    ],
    ids=range(8),
)  # fmt: skip
def test_a_route_to_a_cloud_holds(route: dict[str, str]) -> None:
    boundary = parse(team(route))
    assert isinstance(boundary, Boundary), boundary
    assert boundary.models.routes[1].api_version == route.get("api_version")


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ({**AZURE, "endpoint": "https://acme.openai.azure.com/v1"}, "is no base URL of Azure"),
        ({**AZURE, "endpoint": "https://acme.openai.azure.com/openai"}, "with an `api_version`, and there is none"),
        ({**AZURE, "api_version": "2024-10-21"}, "has no versions by date"),
        ({**DATED, "api_version": "latest"}, "api_version"),
        ({**DATED, "provider": "openai"}, "is not asked with an `api_version`"),
        ({**BEDROCK, "region": "Ireland, by contract"}, "does not name one"),
        ({**BEDROCK, "region": "us-east-1"}, "is of eu-west-1, not of region us-east-1"),
        ({**BEDROCK, "endpoint": BEDROCK["endpoint"] + "/v1"}, "is no endpoint of this kind"),
        ({**BEDROCK, "protocols": "[chat]"}, "does not speak chat"),
        ({**VERTEX, "endpoint": "https://europe-west1-aiplatform.googleapis.com/v1"}, "is no endpoint of this kind"),
        ({**VERTEX, "endpoint": VERTEX["endpoint"].replace("ons/europe-west1", "ons/us-east5")}, "us-east5"),
        ({**VERTEX, "endpoint": VERTEX["endpoint"].replace("https://europe-west1", "https://us-east5")}, "us-east5"),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_route_to_a_cloud_that_cannot_work_is_refused(route: dict[str, str], what: str) -> None:
    found = parse(team(route))
    assert not isinstance(found, Boundary)
    assert any(what in problem.what for problem in found), [str(problem) for problem in found]


@pytest.mark.parametrize("kind", ["bedrock", "vertex"])
def test_a_route_that_is_bound_to_a_region_names_it_and_has_a_credential(kind: str) -> None:
    route = {key: value for key, value in {"bedrock": BEDROCK, "vertex": VERTEX}[kind].items() if key != "region"}
    found = parse(team(route, credential="      models: [large-coder-2]\n"))
    assert not isinstance(found, Boundary)
    said = [problem.what for problem in found]
    assert any("does not name one" in what for what in said)
    assert any("answers nobody without a credential" in what for what in said)

"""The boundary's section on models: the approved ways to one, and what happens when one fails."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ringfence.domain.failures import Failure
from ringfence.domain.prices import Prices
from ringfence.domain.section import Names, Seconds, Section, as_tuple
from ringfence.domain.wires import SPOKEN, Wire

DataClass = Literal["public", "internal", "confidential", "restricted"]


def _as_text(value: object) -> object:
    """A day as it was written: YAML reads one where a version by date stands."""
    return value.isoformat() if isinstance(value, date) else value


class Route(Section):
    """One approved way to a model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="A short name for reports.")
    provider: Literal["replay", "openai", "anthropic", "gemini", "azure", "bedrock", "vertex"] = Field(
        description="replay: a recorded script, no model. openai, anthropic, gemini: that company, or any endpoint "
        "that speaks as it does. azure: Azure OpenAI. bedrock: Anthropic's models at AWS Bedrock. vertex: Google's and "
        "Anthropic's models at Vertex AI."
    )
    endpoint: str = Field(
        description="Base URL up to and with the version (/v1, for gemini /v1beta). azure: up to and with /openai/v1, "
        "or /openai with `api_version`. bedrock: the host alone. vertex: up to and with "
        "/v1/projects/PROJECT/locations/REGION. replay: absolute path of the recorded script."
    )
    api_version: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        default=None,
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:-preview)?$",
        description="azure with an endpoint that ends in /openai: which version of its interface is asked.",
    )
    protocols: Annotated[tuple[Wire, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="What agents may speak to it: chat (Chat Completions), responses, messages, gemini. Left out: "
        "chat and responses for openai and azure, messages for anthropic and bedrock, gemini for gemini, gemini and "
        "messages for vertex, all four for replay.",
    )
    translate: Annotated[tuple[Wire, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="What agents may speak to it beside that, though its provider does not: messages or responses to "
        "one that is asked in chat, chat to one that is asked in messages. What cannot be carried over is refused. "
        "Left out: nothing is translated.",
    )
    models: Names = Field(min_length=1, description="Model names that may be asked for; no patterns.")
    credential: str | None = Field(
        default=None, description="Name of a secret with purpose `model`; none if not needed."
    )
    repositories: Names = Field(description="Repositories whose content may be sent.")
    data_classes: Annotated[tuple[DataClass, ...], BeforeValidator(as_tuple)] = Field(
        description="Data classes that may be sent."
    )
    prompts_logged: str = Field(min_length=1, description="Where the provider's side logs prompts, in words.")
    outputs_logged: str = Field(min_length=1, description="Where the provider's side logs outputs, in words.")
    retention: str = Field(
        min_length=1, description="The provider's retention: disabled, or by which contract restricted."
    )
    region: str | None = Field(
        default=None,
        min_length=1,
        description="Where the provider works on what is sent, in words; needed outside. bedrock and vertex: the name "
        "of the region, to which requests are bound.",
    )
    internal: bool = Field(default=False, description="True when the endpoint is inside the organisation.")

    @property
    def spoken(self) -> tuple[Wire, ...]:
        """The protocols that its doors take as they are."""
        return self.protocols or SPOKEN[self.provider]


class Models(Section):
    """Which models may be called, and what happens when one cannot be."""

    routes: Annotated[tuple[Route, ...], BeforeValidator(as_tuple)] = Field(description="The approved ways to a model.")
    default: str | None = Field(
        default=None, description="route/model that agents are given; none in a pure observe pilot."
    )
    fallback: Literal["none"] | Names = Field(
        description="none: when the route fails, the run stops. Or a list of route/model, asked in this order when the "
        "one before has failed."
    )
    fallback_on: Annotated[tuple[Failure, ...], BeforeValidator(as_tuple)] = Field(
        default=("unreachable", "busy", "failed", "timeout"),
        description="Which failures of a provider make the next one be asked: no connection, status 429, status 5xx, "
        "no first byte in time.",
    )
    on_secret: Literal["remove", "deny", "stop"] = Field(
        default="remove",
        description="When a request to a model, tool results included, holds a secret that is known or has a known "
        "format: remove: it is taken out. deny: the request is refused. stop: the run ends.",
    )
    prices: Prices | None = Field(default=None, description="What models cost; needed where money is limited.")
    first_byte_timeout: Seconds = Field(
        default=60,
        json_schema_extra={"default": "60s"},
        description="A provider that has sent nothing by then has failed.",
    )
    idle_timeout: Seconds = Field(
        default=60,
        json_schema_extra={"default": "60s"},
        description="A stream that is silent for this long has failed.",
    )

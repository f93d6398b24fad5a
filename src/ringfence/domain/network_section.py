"""The boundary's section on the network: what each phase reaches, and on inspected hosts what may be asked."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ringfence.domain.section import Names, Section, as_tuple

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class HostCredential(Section):
    """A credential that the proxy puts on a request; nothing inside ever has it."""

    secret: str = Field(description="Name of a secret with purpose `registry`.")
    scheme: Literal["bearer", "basic", "header"] = Field(
        description="How it is put on. bearer and basic: as Authorization. header: as the value of a header."
    )
    username: str | None = Field(
        default=None, pattern=r"^[!-9;-~]+$", description="For basic: the name before the colon."
    )
    header: str | None = Field(
        default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]*$", description="For header: its name, such as X-Api-Key."
    )


class NetworkRule(Section):
    """One host that may be reached in a phase."""

    host: str = Field(description="A host name, or one leading wildcard label (*.example.com).")
    port: int = Field(default=443, ge=1, le=65535, description="TCP port.")
    purpose: Literal["registry", "service", "provider"] = Field(
        description="Why it is reachable. service: one internal host, which also gets a door of its own: inside, its "
        "name and port lead there directly, for clients that speak no proxy."
    )
    cidrs: Names = Field(
        default=(),
        description="Networks in which this very host may be although they are private or loopback; nothing else "
        "reaches them by this rule.",
    )
    commands: Names = Field(
        default=(),
        description="For whom it is: checks by name (validation), set-up commands as their words joined by spaces; "
        "empty: every command of the phase.",
    )
    inspect: bool = Field(
        default=False,
        description="Whether TLS is opened in the proxy, so that methods, paths and content are judged and recorded.",
    )
    methods: Annotated[tuple[Method, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="With inspect: the methods that may be used; empty: all of these."
    )
    paths: Names = Field(
        default=(),
        description="With inspect: the paths that may be asked for, from /; `*` is within one component, `**` any "
        "number of components. Empty: all.",
    )
    credential: HostCredential | None = Field(
        default=None, description="With inspect, methods and paths: the credential that the proxy puts on these."
    )


class Network(Section):
    """What can be reached from a sandbox, by phase. Default deny."""

    setup: Annotated[tuple[NetworkRule, ...], BeforeValidator(as_tuple)] = Field(
        description="While set-up commands run."
    )
    agent: Annotated[tuple[NetworkRule, ...], BeforeValidator(as_tuple)] = Field(
        description="While the agent works (the model gateway needs no rule here)."
    )
    validation: Annotated[tuple[NetworkRule, ...], BeforeValidator(as_tuple)] = Field(description="While checks run.")
    on_leak: Literal["deny", "stop"] = Field(
        default="stop",
        description="When a request to an inspected host holds a secret that the proxy knows: deny the request alone, "
        "or stop the run too.",
    )

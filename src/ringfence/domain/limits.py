"""The boundary's section on limits: when a run ends, what a sandbox may use, and how large a patch may be."""

from typing import Literal

from pydantic import Field

from ringfence.domain.layers import LayerLimits as LayerLimits
from ringfence.domain.money import amount
from ringfence.domain.section import Seconds, Section, Size


class RunLimits(Section):
    """When a run ends, whatever happened."""

    time: Seconds = Field(description="Wall clock of a whole run.")
    attempts: int = Field(ge=1, le=10, description="Agent attempts: the first and its repairs.")
    turns: int = Field(ge=1, le=500, description="Model turns of one attempt.")
    requests: int = Field(ge=1, description="Model requests of a run.")
    input_tokens: int = Field(ge=1, description="Tokens sent to models in a run.")
    output_tokens: int = Field(ge=1, description="Tokens received from models in a run.")
    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Model requests a second; those beyond wait, then are told to come again.",
    )
    money: float | None = Field(
        default=None, gt=0, description="What models may cost in a run, in the currency of `models.prices`."
    )


class DayLimits(Section):
    """What may be spent on models from 00:00 to 24:00 UTC; what is left out is not limited."""

    requests: int | None = Field(default=None, ge=1, description="Model requests.")
    input_tokens: int | None = Field(default=None, ge=1, description="Tokens sent to models.")
    output_tokens: int | None = Field(default=None, ge=1, description="Tokens received from models.")
    money: float | None = Field(
        default=None, gt=0, description="What models may cost, in the currency of `models.prices`."
    )

    def most(self) -> dict[str, int]:
        """What is limited, as budgets count it."""
        money = None if self.money is None else amount(self.money)
        counts = {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "money": money,
        }
        return {name: most for name, most in counts.items() if most is not None}


class SandboxLimits(Section):
    """What one sandbox may use."""

    memory: Size = Field(description="Resident memory with its tmpfs pages.")
    processes: int = Field(ge=8, description="Processes and threads at once.")
    cpus: float = Field(gt=0, description="Processors' worth of time.")
    cpu_time: Seconds = Field(description="CPU seconds of one process.")
    file: Size = Field(description="Largest single file.")
    disk: Size = Field(description="The working tree with everything in it.")
    temporary: Size = Field(description="Each of /tmp, /home and /dev/shm.")
    output: Size = Field(description="What a command may print; it is ended beyond.")
    cgroup: Literal["required", "preferred"] = Field(
        description="required: no run without a cgroup. preferred: else rlimits and a watch, and the evidence says so."
    )


class PatchLimits(Section):
    """How large a patch may be."""

    files: int = Field(ge=1, description="Changed paths.")
    file: Size = Field(description="Largest changed file.")
    total: Size = Field(description="All changed files together.")


class NetworkLimits(Section):
    """How much may pass the egress proxy in a run."""

    requests: int = Field(default=5000, ge=1, description="Connections and plain requests that are let out.")
    sent: Size = Field(default=256 << 20, json_schema_extra={"default": "256MiB"}, description="Bytes that leave.")
    received: Size = Field(default=8 << 30, json_schema_extra={"default": "8GiB"}, description="Bytes that come in.")


class Limits(Section):
    """Everything that is counted."""

    run: RunLimits = Field(description="When a run ends, whatever happened.")
    repository_day: DayLimits = Field(
        default=DayLimits(), description="What all runs of one repository together may spend on models in a day."
    )
    day: DayLimits = Field(
        default=DayLimits(), description="What all runs of this worker together may spend on models in a day."
    )
    sandbox: SandboxLimits = Field(description="What one sandbox may use.")
    patch: PatchLimits = Field(description="How large a patch may be.")
    network: NetworkLimits = Field(
        default=NetworkLimits(),
        json_schema_extra={"default": {"requests": 5000, "sent": "256MiB", "received": "8GiB"}},
        description="How much may pass the egress proxy in a run.",
    )
    layer: LayerLimits = Field(
        default=LayerLimits(),
        json_schema_extra={"default": {"size": "2GiB", "age": "7d", "total": "20GiB"}},
        description="What set-up leaves, which is kept between runs.",
    )
    brief_tokens: int = Field(ge=500, description="How long a brief may be (estimated, 3.5 bytes a token).")

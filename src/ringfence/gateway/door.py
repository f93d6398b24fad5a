"""What the exchanges of one door share: its policy, its budget, and whether it is shut."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ringfence.gateway.answer import Scrubber
from ringfence.gateway.call import Call
from ringfence.gateway.circuit import Circuit
from ringfence.gateway.ledger import Ledger
from ringfence.gateway.pace import Pace
from ringfence.gateway.protocols.shape import WireProtocol
from ringfence.gateway.protocols.translate.wire import Pair
from ringfence.gateway.refusal import Headers, Refusal
from ringfence.ports.gateway import DoorPolicy, Fallback
from ringfence.ports.model_provider import ModelProvider

#: Refused requests after which a door is shut: an agent that goes on like this will not stop by itself.
MAX_REFUSALS = 256
#: Times that the model list is given; a flood of it would cost the other runs their turn.
MAX_LOOKUPS = 256
#: Requests in a row that the provider failed, after which a door is shut: some agents ask again for ever.
MAX_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Route:
    """A provider with what must never come back out of it."""

    provider: ModelProvider
    models: tuple[str, ...]
    protocols: tuple[str, ...]
    scrub: Scrubber
    translations: Mapping[str, Pair] = field(default_factory=dict)  # by what the agent speaks
    circuit: Circuit = field(default_factory=Circuit)


@dataclass(slots=True)
class Standing:
    """How a door stands, whichever of its routes an exchange takes."""

    denied: str | None = None
    refusals: int = 0
    lookups: int = 0
    calls: int = 0
    faults: int = 0  # in a row
    failed: float = 0.0  # when the last of them was


@dataclass(slots=True)
class Door:
    """One run's way to one model by one route; `fallbacks` are its other ways, with the same budget and standing."""

    policy: DoorPolicy
    provider: str
    replayed: bool
    scrub: Scrubber
    ledger: Ledger
    told: Callable[[str], None]  # called once, with the code of the final no
    protocols: tuple[str, ...] = ("chat",)  # that agents may speak here, and the provider too
    translations: Mapping[str, Pair] = field(default_factory=dict)  # by what else agents may speak here
    circuit: Circuit = field(default_factory=Circuit)
    rule: str = "models.routes"  # by which this route may be asked
    pace: Pace | None = None
    deadline: float | None = None  # on the clock of the exchanges
    standing: Standing = field(default_factory=Standing)
    fallbacks: tuple["Door", ...] = ()

    def by(self, way: Fallback, route: Route) -> "Door":
        """This door by another route."""
        return replace(
            self,
            policy=replace(self.policy, route=way.route, model=way.model, rate=way.rate),
            provider=route.provider.kind,
            replayed=route.provider.replayed,
            scrub=route.scrub,
            protocols=route.protocols,
            translations=route.translations,
            circuit=route.circuit,
            rule="models.fallback",
            fallbacks=(),
        )

    @property
    def taken(self) -> tuple[str, ...]:
        """The protocols that agents may speak here."""
        return (*self.protocols, *self.translations)

    def final(self, code: str) -> None:
        """Shut the door for good; the first reason stays."""
        if self.standing.denied is None:
            self.standing.denied = code
            self.told(code)

    def failed(self, code: str, since: float, now: float) -> bool:
        """A request that came at `since` got no answer from the provider; True when it is one too many.

        Requests that fail side by side count once: what is counted is how often somebody came again.
        """
        standing = self.standing
        if standing.faults == 0 or since >= standing.failed:
            standing.faults, standing.failed = standing.faults + 1, now
        if standing.faults < MAX_FAULTS:
            return False
        self.final(code)
        return True

    def answered(self) -> None:
        """The agent has an answer."""
        self.standing.faults = 0

    @property
    def exhausted(self) -> bool:
        """Whether it has refused so often that it does not even answer any more."""
        return self.standing.refusals >= MAX_REFUSALS

    def next_id(self) -> str:
        """A name for the next call, unique while the door is open."""
        self.standing.calls += 1
        return f"{self.policy.door}#{self.standing.calls}"

    def label(self, headers: Headers) -> Headers:
        """Headers of an answer, marked when it comes from a recording."""
        return (*headers, ("x-ringfence-replay", "true")) if self.replayed else headers

    def refused(self, refusal: Refusal, request: bytes, wire: WireProtocol) -> Call:
        """A refusal as it is recorded."""
        return Call(
            id=self.next_id(),
            phase="denied",
            run=self.policy.run,
            door=self.policy.door,
            route=self.policy.route,
            provider=self.provider,
            model=self.policy.model,
            decision="deny",
            rule=refusal.deny.rule,
            reason=f"{refusal.deny.reason.value}: {refusal.deny.detail}",
            status=refusal.status,
            input_tokens=0,
            output_tokens=0,
            tokens_estimated=False,
            first_byte_ms=0.0,
            seconds=0.0,
            replayed=False,
            request=request,
            response=refusal.body(wire.error),
            protocol=wire.name,
        )

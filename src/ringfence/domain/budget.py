"""A budget and what was spent of it, counted from the audit log, so that a crash forgets nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far. Seconds are wall-clock seconds of agent work and checks."""

    attempts: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: Billionths of the currency of the table of prices; an estimate.
    money: int = 0
    seconds: float = 0.0
    #: Attempts to leave by the network that were allowed, and bytes each way.
    connections: int = 0
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use at most."""

    attempts: int
    requests: int
    input_tokens: int
    output_tokens: int
    seconds: float
    money: int | None = None

    def exceeded(self, spent: Spent) -> str | None:
        """The name of the first limit that is used up, or None while there is something left of each."""
        pairs = (
            ("attempts", spent.attempts, self.attempts),
            ("requests", spent.requests, self.requests),
            ("input_tokens", spent.input_tokens, self.input_tokens),
            ("output_tokens", spent.output_tokens, self.output_tokens),
            ("seconds", spent.seconds, self.seconds),
        )
        if self.money is not None and spent.money >= self.money:
            return "money"
        return next((name for name, used, limit in pairs if used >= limit), None)

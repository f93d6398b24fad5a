"""Money as budgets count it: whole billionths of one currency, so that nothing gets lost in rounding.

Pure and without a package, because the gateway's process counts with it too.
"""

from dataclasses import dataclass

#: One unit of a currency.
UNIT = 10**9
_MILLION = 10**6


def amount(units: float) -> int:
    """An amount as a document writes it, in billionths."""
    return round(units * UNIT)


def shown(money: int) -> str:
    """An amount for a person: units with four decimals, never rounded down."""
    tenths = -(-money * 10_000 // UNIT)
    return f"{tenths // 10_000}.{tenths % 10_000:04d}"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a model costs: billionths of the currency for a million tokens of each kind."""

    input: int = 0
    output: int = 0
    cached: int = 0
    known: bool = True  # False: nobody has put a price on it; it counts as nothing, and is shown as unknown

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
        """What so many tokens cost, rounded up; `cached_tokens` are those of the input that cost less."""
        fresh = max(0, input_tokens - cached_tokens)
        millionths = fresh * self.input + output_tokens * self.output + cached_tokens * self.cached
        return -(-millionths // _MILLION)

    def output_for(self, money: int) -> int | None:
        """How many output tokens an amount pays for; None when they cost nothing."""
        return max(0, money * _MILLION // self.output) if self.output else None


#: What costs nothing.
FREE = Rate()
#: What nobody has put a price on.
UNPRICED = Rate(known=False)

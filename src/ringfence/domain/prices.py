"""The boundary's table of prices: what its owners say that a model costs, and on what date they looked.

A bill is the provider's. What is counted by this table is an estimate, and always shown with its date.
"""

from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field

from ringfence.domain.money import Rate, amount
from ringfence.domain.section import Section, as_tuple


class Price(Section):
    """What one model costs by one route, for a million tokens."""

    model: str = Field(min_length=3, description="route/model, as in `default`.")
    input: float = Field(ge=0, le=1_000_000, description="A million tokens sent.")
    output: float = Field(ge=0, le=1_000_000, description="A million tokens received.")
    cached: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="A million tokens sent that the provider had cached; else as `input`.",
    )

    @property
    def rate(self) -> Rate:
        """The price as budgets count it."""
        cached = self.input if self.cached is None else self.cached
        return Rate(amount(self.input), amount(self.output), amount(cached))


class Prices(Section):
    """The table, in one currency."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="Three letters, for example EUR; all amounts are in it.")
    as_of: date = Field(description="The day on which they were looked up, written 2026-01-31.")
    table: Annotated[tuple[Price, ...], BeforeValidator(as_tuple)] = Field(min_length=1, description="A line a model.")

    def rate(self, route: str, model: str) -> Rate | None:
        """What a model costs by a route; None when the table does not say."""
        return next((price.rate for price in self.table if price.model == f"{route}/{model}"), None)

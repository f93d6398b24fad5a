"""How measurements are shown: minimum, median and maximum of every run, nothing left out."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured, a sample for each run."""

    name: str
    unit: str
    samples: tuple[float, ...]


def rate(amount: float, work: Callable[[], object]) -> float:
    """How much of something is done in a second."""
    started = time.perf_counter()
    work()
    return amount / (time.perf_counter() - started)


def show(rows: Iterable[Row]) -> None:
    """A table on standard output."""
    print(f"{'what':<58} {'minimum':>12} {'median':>12} {'maximum':>12}  unit (runs)")
    for row in rows:
        low, middle, high = map(_shown, (min(row.samples), statistics.median(row.samples), max(row.samples)))
        print(f"{row.name:<58} {low:>12} {middle:>12} {high:>12}  {row.unit} ({len(row.samples)})", flush=True)


def _shown(value: float) -> str:
    """Small numbers and ratios with two decimals."""
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}"

"""What is left of the budgets behind a door: promised before a call, settled after it.

Pure and without waiting, so that requests in parallel cannot spend the same token twice. A run's budget
belongs to its door; those of a day are shared by all doors of the process. It counts from what the worker
gave it; the audit log counts for good.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ringfence.domain.money import FREE, Rate
from ringfence.gateway.refusal import Refusal, busy, spent
from ringfence.ports.gateway import DayBudget

#: Output promised to a request that names no limit; a stream that grows beyond asks for more as it goes.
USUAL_OUTPUT = 4096
_BYTES_A_TOKEN = 3.5
_GROWTH = 512  # tokens that a growing stream asks for at once, so that it does not ask for every one


def estimate(size: int) -> int:
    """Tokens of so many bytes, where nobody has counted them."""
    return -int(-size // _BYTES_A_TOKEN)


class Account:
    """One budget: how much there is at most of each thing that it limits, and what of that is spent or promised."""

    def __init__(self, scope: str, most: Mapping[str, int], spent_before: Mapping[str, int] | None = None) -> None:
        self.scope = scope
        self._most = dict(most)
        self._spent = {name: (spent_before or {}).get(name, 0) for name in most}
        self._promised = dict.fromkeys(most, 0)

    def left(self, name: str) -> int | None:
        """What is neither spent nor promised; None when it is not limited."""
        return self._most[name] - self._spent[name] - self._promised[name] if name in self._most else None

    def lacks(self, wanted: Mapping[str, int], *, waiting: bool = True) -> Refusal | None:
        """Why so much cannot be promised: it is spent, or promised to others, which without `waiting` is the same."""
        limited = {name: wanted[name] for name in self._most if name in wanted}
        for name, much in limited.items():
            if self._most[name] - self._spent[name] < much:
                return spent(name, self.scope)
        for name, much in limited.items():
            if self._most[name] - self._spent[name] - self._promised[name] < much:
                return busy(name, self.scope) if waiting else spent(name, self.scope)
        return None

    def promise(self, amounts: Mapping[str, int]) -> None:
        """Put amounts aside, or with negative ones take them back."""
        for name in self._promised:
            self._promised[name] += amounts.get(name, 0)

    def spend(self, amounts: Mapping[str, int]) -> None:
        """Count amounts as used for good."""
        for name in self._spent:
            self._spent[name] += amounts.get(name, 0)

    def catch_up(self, spent_before: Mapping[str, int]) -> None:
        """Never count less than the log does."""
        for name, counted in self._spent.items():
            self._spent[name] = max(counted, spent_before.get(name, 0))


class Days:
    """The budgets of the present day that the doors of this process share; a new day begins with nothing spent."""

    def __init__(self, today: Callable[[], str]) -> None:
        self._today = today
        self._accounts: dict[tuple[str, str], tuple[str, Account]] = {}

    def join(self, budget: DayBudget) -> None:
        """A door with this budget opens."""
        account = self.account(budget)
        if budget.day == self._today():
            account.catch_up(budget.spent)

    def account(self, budget: DayBudget) -> Account:
        """The account of this budget for today."""
        key, today = (budget.scope, budget.of), self._today()
        day, account = self._accounts.get(key, ("", None))
        if account is None or day != today:
            before = budget.spent if budget.day == today else {}
            account = Account(budget.scope, budget.most, before)
            self._accounts[key] = (today, account)
        return account


@dataclass(slots=True)
class Promise:
    """What one upstream attempt may use. Open until it is settled."""

    input_tokens: int
    output_tokens: int
    rate: Rate = FREE
    accounts: tuple[Account, ...] = field(default=(), repr=False)
    open: bool = True

    @property
    def money(self) -> int:
        """What it may cost."""
        return self.rate.cost(self.input_tokens, self.output_tokens)

    def amounts(self) -> dict[str, int]:
        """What is put aside for it; its request is spent already."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "money": self.money}


class Ledger:
    """The budgets of a door: its run's, and the day's that it shares."""

    def __init__(
        self, requests: int, input_tokens: int, output_tokens: int, *, money: int | None = None,
        shared: Callable[[], Iterable[Account]] = tuple,
    ) -> None:  # fmt: skip
        most = {"requests": requests, "input_tokens": input_tokens, "output_tokens": output_tokens}
        self._run = Account("run", most if money is None else {**most, "money": money})
        self._shared = shared

    @property
    def left(self) -> tuple[int, int, int]:
        """Requests, input tokens and output tokens of the run that are neither spent nor promised."""
        return tuple(self._run.left(name) or 0 for name in ("requests", "input_tokens", "output_tokens"))  # type: ignore[return-value]  # three

    def promise(self, input_tokens: int, output_tokens: int | None, rate: Rate = FREE) -> Promise | Refusal:
        """Take a request, its input, its output and its cost out of what is left, or say which limit forbids it."""
        accounts = (self._run, *self._shared())
        least = {"requests": 1, "input_tokens": input_tokens, "output_tokens": 1, "money": rate.cost(input_tokens, 1)}
        for account in accounts:
            lacking = account.lacks(least)
            if lacking is not None:
                return lacking
        granted = min(output_tokens or USUAL_OUTPUT, *(_affordable(one, input_tokens, rate) for one in accounts))
        promise = Promise(input_tokens, granted, rate, accounts)
        for account in accounts:
            account.spend({"requests": 1})
            account.promise(promise.amounts())
        return promise

    def grow(self, promise: Promise, output_tokens: int) -> Refusal | None:
        """Make a promise hold `output_tokens`; the limit that forbids it, if one does."""
        if output_tokens <= promise.output_tokens:
            return None
        # What is free to it: what is left, and what it holds already.
        held = promise.amounts()
        for account in promise.accounts:
            account.promise({name: -much for name, much in held.items()})
        money = promise.rate.cost(promise.input_tokens, output_tokens)
        wanted = {**held, "output_tokens": output_tokens, "money": money}
        # In the middle of an answer there is no waiting: what others hold is as good as spent.
        found = (one.lacks(wanted, waiting=False) for one in promise.accounts)
        lacking = next((refusal for refusal in found if refusal is not None), None)
        if lacking is None:
            free = (_affordable(one, promise.input_tokens, promise.rate) for one in promise.accounts)
            promise.output_tokens = min(output_tokens + _GROWTH, *free)
        for account in promise.accounts:
            account.promise(promise.amounts())
        return lacking

    def settle(self, promise: Promise, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
        """Put what was truly used in the place of what was promised; the request stays spent. What it cost."""
        if not promise.open:
            raise ValueError("a promise is settled once")
        promise.open = False
        cost = promise.rate.cost(input_tokens, output_tokens, cached_tokens)
        for account in promise.accounts:
            account.promise({name: -much for name, much in promise.amounts().items()})
            account.spend({"input_tokens": input_tokens, "output_tokens": output_tokens, "money": cost})
        return cost


def _affordable(account: Account, input_tokens: int, rate: Rate) -> int:
    """How much output an account has left for a request: in tokens, and for its money."""
    tokens, money = account.left("output_tokens"), account.left("money")
    paid = None if money is None else rate.output_for(money - rate.cost(input_tokens, 0))
    return min(known for known in (tokens, paid, 1 << 40) if known is not None)

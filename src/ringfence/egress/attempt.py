"""One attempt to leave as the proxy asks for it to be recorded: a value that crosses to the worker's process."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: `asked`: allowed by its name, about to be looked up. `ended`: what became of it. `denied`: it never left.
Moment = Literal["asked", "ended", "denied"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One destination that was asked for, by one connection or one plain request.

    An allowed one is recorded twice under the same `id`; `asked` is the question whether it may happen at all.
    """

    id: str
    moment: Moment
    run: str
    door: str
    role: str
    phase: str
    command: str
    host: str
    port: int
    address: str
    method: str
    path: str
    credential: str  # the name of the secret that was put on
    decision: str  # "allow" or "deny"
    rule: str
    reason: str
    status: int
    sent: int
    received: int
    seconds: float


def to_frame(attempt: Attempt) -> dict[str, Any]:
    """The attempt as a JSON object."""
    return asdict(attempt)


def from_frame(fields: dict[str, Any]) -> Attempt:
    """The attempt that `to_frame` took apart. Raises ValueError unless each field is there with its type."""
    if set(fields) != set(_TYPES) or not all(_is(fields[name], of) for name, of in _TYPES.items()):
        raise ValueError("an attempt with the wrong fields")
    if fields["moment"] not in ("asked", "ended", "denied") or fields["decision"] not in ("allow", "deny"):
        raise ValueError("an attempt without a decision")
    return Attempt(**fields)


def _is(value: object, of: tuple[type, ...]) -> bool:
    return isinstance(value, of) and not isinstance(value, bool)


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("id", "moment", "run", "door", "role", "phase", "command", "host", "address", "method", "path"), (str,)
    ),
    **dict.fromkeys(("credential", "decision", "rule", "reason"), (str,)),
    **dict.fromkeys(("port", "status", "sent", "received"), (int,)),
    "seconds": (int, float),
}

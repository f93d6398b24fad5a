"""A decision is a value: allowed by a rule, or denied by a rule with a reason and a source.

Nothing here enforces. The enforcement points (sandbox, gateway, broker, git intake, code host) act on
these values and record both outcomes.
"""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Which part of the worker decided."""

    ADMISSION = "admission"
    SANDBOX = "sandbox"
    EGRESS = "egress"
    GATEWAY = "gateway"
    BROKER = "broker"
    INTAKE = "intake"
    CODE_HOST = "code_host"
    WORKER = "worker"


class Reason(StrEnum):
    """Why something was denied: a closed list, so that reports can count."""

    NOT_LISTED = "not_listed"
    NOT_APPROVED = "not_approved"
    STAGE_TOO_LOW = "stage_too_low"
    PROTECTED = "protected"
    TOO_LARGE = "too_large"
    LEAVES_TREE = "leaves_tree"
    SECRET_FOUND = "secret_found"
    BUDGET_SPENT = "budget_spent"
    MALFORMED = "malformed"
    CONTROL_MISSING = "control_missing"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Allow:
    """The rule named here permits it."""

    rule: str


@dataclass(frozen=True, slots=True)
class Deny:
    """The rule named here forbids it; `detail` is one redacted sentence for a person."""

    rule: str
    reason: Reason
    source: Source
    detail: str = ""


Decision = Allow | Deny

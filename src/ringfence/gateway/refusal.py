"""What the gateway says when it does not hand on an answer: its own refusals, and an upstream's faults.

One status has one meaning for agents: 403 is a final no, after which the worker ends the agent. Nothing
here repeats a word of a credential.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringfence.domain.decision import Deny, Reason, Source

Headers = tuple[tuple[str, str], ...]
CIRCUIT_OPEN = "circuit_open"
JSON_HEADERS: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
STREAM_HEADERS: Headers = (("content-type", "text/event-stream"), ("cache-control", "no-store"))

#: Writes a no in a protocol's own form: status, code, message, rule.
ErrorForm = Callable[[int, str, str, str], bytes]


def openai_fields(code: str, message: str, rule: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it, and the rule that decided."""
    return {"message": message, "type": "ringfence", "param": None, "code": code, "rule": rule}


def openai_error(_status: int, code: str, message: str, rule: str) -> bytes:
    """A body that says no in OpenAI's form."""
    return json.dumps({"error": openai_fields(code, message, rule)}).encode()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that never leaves. `code` is for programs; the decision names the rule."""

    status: int
    code: str
    deny: Deny

    @property
    def final(self) -> bool:
        """Whether nothing that this agent may still ask can be answered."""
        return self.status == 403

    def body(self, form: ErrorForm = openai_error) -> bytes:
        """The answer in a protocol's form of errors."""
        return form(self.status, self.code, self.deny.detail, self.deny.rule)

    def headers(self) -> Headers:
        """A refusal is never worth the same request again."""
        return _headers(retry=self.status == 429)


@dataclass(frozen=True, slots=True)
class Fault:
    """An upstream that failed: allowed and tried, but there is no answer that could be handed on."""

    status: int
    code: str
    detail: str
    again: bool = False  # the gateway itself may try once more
    retry_after: float = 0.0

    @property
    def final(self) -> bool:
        """Whether the door is shut by it."""
        return self.status == 403

    def body(self, form: ErrorForm = openai_error) -> bytes:
        """The answer in a protocol's form of errors."""
        return form(self.status, self.code, self.detail, "models.routes")

    def headers(self) -> Headers:
        """A fault that may pass says so by leaving the header out."""
        return _headers(retry=self.status in (429, 502, 504))


def _headers(*, retry: bool) -> Headers:
    return JSON_HEADERS if retry else (*JSON_HEADERS, ("x-should-retry", "false"))


def refuse(status: int, code: str, *, rule: str, reason: Reason, detail: str) -> Refusal:
    """A refusal by this gateway."""
    return Refusal(status, code, Deny(rule, reason, Source.GATEWAY, detail))


def malformed(detail: str, *, status: int = 400, code: str = "malformed", rule: str = "gateway.request") -> Refusal:
    """A request that is not what this door takes; another one may be."""
    return refuse(status, code, rule=rule, reason=Reason.MALFORMED, detail=detail)


def too_large(detail: str) -> Refusal:
    """A request beyond the caps."""
    return refuse(413, "too_large", rule="gateway.request.size", reason=Reason.TOO_LARGE, detail=detail)


def wrong_model(model: str) -> Refusal:
    """A model that this door is not for."""
    shown = model[:100].encode("ascii", "backslashreplace").decode()
    detail = f"model {shown!r} is not approved"
    return refuse(403, "model_not_approved", rule="models.routes", reason=Reason.NOT_APPROVED, detail=detail)


def wrong_protocol(spoken: str, approved: tuple[str, ...]) -> Refusal:
    """A protocol that this door's route does not take, by translation neither."""
    detail = f"the route takes {', '.join(approved) or 'nothing'}, not {spoken}"
    return refuse(403, "protocol_not_approved", rule="models.routes", reason=Reason.NOT_APPROVED, detail=detail)


def not_allowed(code: str, rule: str, detail: str) -> Refusal:
    """A request that would make the provider reach out of the boundary."""
    return refuse(403, code, rule=rule, reason=Reason.NOT_LISTED, detail=detail)


def not_translated(spoken: str, other: str, what: str) -> Refusal:
    """A request that means something that the provider's protocol cannot say."""
    detail = f"{what}: this cannot be carried over from {spoken} to {other}"
    return not_allowed("not_translated", "gateway.translate", detail)


def spent(limit: str, scope: str = "run") -> Refusal:
    """A budget that is used up; both names are the boundary's."""
    return _budget(403, "spent", limit, scope, f"the {_OWNERS[scope]} {limit} are used up")


def busy(limit: str, scope: str = "run") -> Refusal:
    """What is left is promised to requests that are still on their way."""
    detail = f"what is left of the {_OWNERS[scope]} {limit} is promised to requests on their way"
    return _budget(429, "promised", limit, scope, detail)


def too_fast() -> Refusal:
    """More requests a second than the run may make; the same request may come again."""
    detail = "the run's requests come too fast"
    rule = "limits.run.requests_per_second"
    return refuse(429, "too_fast", rule=rule, reason=Reason.BUDGET_SPENT, detail=detail)


def circuit_open(route: str, failure: str) -> Refusal:
    """A route that has failed too often to be asked now."""
    detail = f"route {route} is left alone for a while: {failure} too often"
    return refuse(502, CIRCUIT_OPEN, rule="models.circuit", reason=Reason.CONTROL_MISSING, detail=detail)


_OWNERS = {"run": "run's", "repository_day": "repository's day's", "day": "day's"}


def _budget(status: int, state: str, limit: str, scope: str, detail: str) -> Refusal:
    code = f"{limit}_{state}" if scope == "run" else f"{scope}_{limit}_{state}"
    return refuse(status, code, rule=f"limits.{scope}.{limit}", reason=Reason.BUDGET_SPENT, detail=detail)


def not_recorded() -> Refusal:
    """An allow that cannot be recorded is a deny."""
    detail = "the exchange could not be recorded"
    return refuse(403, "not_recorded", rule="gateway.record", reason=Reason.CONTROL_MISSING, detail=detail)


def secret_found(kinds: str, *, final: bool) -> Refusal:
    """A request that holds a secret, by kind and count; never the value."""
    detail = f"the request holds a secret: {kinds}"
    status = 403 if final else 400
    return refuse(status, "secret_found", rule="models.on_secret", reason=Reason.SECRET_FOUND, detail=detail)


def internal_error() -> Refusal:
    """An error inside a decision is a deny."""
    detail = "the gateway failed while it judged this request"
    return refuse(403, "internal_error", rule="gateway.internal", reason=Reason.INTERNAL_ERROR, detail=detail)


def shut(code: str) -> Refusal:
    """A door that has given its final no before."""
    return refuse(403, code, rule="gateway.door", reason=Reason.NOT_APPROVED, detail=f"this door is shut: {code}")

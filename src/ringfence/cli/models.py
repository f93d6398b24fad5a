"""`models`: whether the approved ways to a model lead to one."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli.work import JsonOption, SettingsOption

if TYPE_CHECKING:
    from ringfence.child.process import Answer
    from ringfence.cli.model_questions import Reply
    from ringfence.domain.boundary import Route
    from ringfence.domain.wires import Wire
    from ringfence.gateway.call import Call
    from ringfence.gateway.process import GatewayProcess
    from ringfence.ports.gateway import DoorPolicy
    from ringfence.wiring import Reading

app = typer.Typer(no_args_is_help=True, help="The approved ways to a model.")

#: What a check may cost: the answer, and what the gateway tries again.
_REQUESTS, _INPUT, _OUTPUT = 3, 20_000, 4_000


@app.callback()
def models() -> None:
    """The approved ways to a model."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One route with one of its models, asked once."""

    route: str
    provider: str
    model: str
    protocol: str
    replay: bool
    ready: bool
    tool_called: bool
    code: str  # of the no, when there was one
    said: str
    first_byte_ms: float
    seconds: float
    requests: int
    input_tokens: int
    output_tokens: int
    estimated: bool
    cost: str


@app.command()
def check(
    settings: SettingsOption = None,
    json: JsonOption = False,
    every: Annotated[bool, typer.Option("--every-model", help="Ask each model of a route, not one of them.")] = False,
) -> None:
    """Ask each approved route once, with a tool to call, as an agent would: readiness, latency, tokens, cost.

    The question goes through a gateway process like a run's, with the credentials of a run, and is on the log; it holds
    nothing of a repository. It costs what an answer of a few words costs. Exit code 1 when a route is not ready.
    """
    from ringfence.settings import load

    found = load(settings)  # before libraries come in: see `settings.load`

    from ringfence.cli.screen import plain, show_json
    from ringfence.wiring import reading

    with reading(found) as look:
        run, rows = _checked(look, every=every)
    if json:
        show_json({"ok": all(row.ready for row in rows), "log": run, "routes": [asdict(row) for row in rows]})
    else:
        for row in rows:
            print(plain(_line(row)))
        print(f"on the log as {run}" if rows else "the boundary has no model route")
    if not all(row.ready for row in rows):
        raise typer.Exit(1)


def _checked(look: "Reading", *, every: bool) -> tuple[str, list[Checked]]:
    """Ask, one after the other; under which name it is on the log, and what came of it."""
    from ringfence import points
    from ringfence.domain.events import RunEnded

    run = f"models-check-{look.clock.token(4)}"
    writes = points.call_recorder(look.boundary, look.log, look.artifacts, look.redactor)
    calls: list[Call] = []

    def record(call: "Call") -> "Answer | None":
        said = writes(call)
        calls.append(call)
        return said

    if not look.boundary.models.routes:
        return run, []
    rows, began = [], look.clock.now()
    with points.gateway(look.boundary, (look.secrets, look.redactor), look.settings, record) as running:
        for route in look.boundary.models.routes:
            for model in route.models if every else (_given(look, route),):
                calls.clear()
                said = _ask(running, _policy(look, run, route, model), route.spoken[0])
                rows.append(_row(look, route, model, said, [call for call in calls if call.phase != "opened"]))
    # An end, so that `ringfence sweep` removes it when the boundary's time for logs is over.
    look.log.append(run, RunEnded("checked", round(look.clock.now() - began, 3)))
    return run, rows


def _given(look: "Reading", route: "Route") -> str:
    """The model that agents are given, when it is one of the route's; else its first."""
    name, _, model = (look.boundary.models.default or "").partition("/")
    return model if name == route.name else route.models[0]


def _policy(look: "Reading", run: str, route: "Route", model: str) -> "DoorPolicy":
    from ringfence.pipeline.doors import rate_of
    from ringfence.ports.gateway import DoorPolicy

    limits, prices = look.boundary.models, look.boundary.models.prices
    return DoorPolicy(
        run=run, door=f"{route.name}/{model}", model=model, route=route.name,
        requests=_REQUESTS, input_tokens=_INPUT, output_tokens=_OUTPUT,
        first_byte_timeout=float(limits.first_byte_timeout), idle_timeout=float(limits.idle_timeout),
        rate=rate_of(look.boundary, route.name, model),
        currency=prices.currency if prices else "", as_of=prices.as_of.isoformat() if prices else "",
    )  # fmt: skip


def _ask(running: "GatewayProcess", policy: "DoorPolicy", wire: "Wire") -> "Reply":
    """Ask at a door that nobody else on this host can reach: a socket in a directory of ours."""
    import socket
    import tempfile
    from pathlib import Path

    import httpx2

    from ringfence.cli.model_questions import question, reply

    asked, came = question(wire, policy.model), bytearray()
    # Longer than the gateway waits, with what it tries again.
    patience = _REQUESTS * (policy.first_byte_timeout + policy.idle_timeout) + 60
    with tempfile.TemporaryDirectory(prefix="ringfence-") as place, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(place) / "door")
        listener.bind(path)
        listener.listen(4)
        transport = httpx2.HTTPTransport(uds=path)
        with (
            running.open(listener, policy),
            httpx2.Client(transport=transport, base_url="http://door", timeout=patience, trust_env=False) as client,
        ):
            status = 0
            try:
                with client.stream("POST", asked.target, json=asked.body) as answer:
                    for piece in answer.iter_raw():
                        came += piece
                    status = answer.status_code
            except httpx2.HTTPError:
                status = 0  # the gateway breaks off a stream that is not complete; its last event says why
    return reply(wire, status, bytes(came))


def _row(look: "Reading", route: "Route", model: str, said: "Reply", ended: "list[Call]") -> Checked:
    replay = route.provider == "replay"
    # A recording that has no conversation for this question was found and read: there is no more to ask of one.
    there = replay and "replay_no_conversation" in said.message
    # The gateway's own word where it has one: protocols have different forms for it.
    code = "" if there else (said.code and ended and ended[-1].reason) or said.code
    return Checked(
        route=route.name,
        provider=route.provider,
        model=model,
        protocol=route.spoken[0],
        replay=replay,
        ready=there or (not code and (said.called or look.settings.agent.mode == "small")),
        tool_called=said.called,
        code=code,
        said="" if there else look.redactor.redact_text(said.message)[:300],
        first_byte_ms=ended[-1].first_byte_ms if ended else 0.0,
        seconds=ended[-1].seconds if ended else 0.0,
        requests=sum(call.decision == "allow" for call in ended),
        input_tokens=sum(call.input_tokens for call in ended),
        output_tokens=sum(call.output_tokens for call in ended),
        estimated=any(call.tokens_estimated for call in ended),
        cost="nothing: a recording" if replay else _cost(look, route, model, sum(call.cost for call in ended)),
    )


def _cost(look: "Reading", route: "Route", model: str, money: int) -> str:
    """By the boundary's table of prices, with its date: a bill is the provider's."""
    from ringfence.domain.money import shown

    prices = look.boundary.models.prices
    if prices is None or prices.rate(route.name, model) is None:
        return "no price in the boundary"
    return f"about {shown(money)} {prices.currency} by the prices of {prices.as_of.isoformat()}"


def _line(row: Checked) -> str:
    label = "REPLAY: a recorded script, no model" if row.replay else row.protocol
    head = f"{'ready' if row.ready else 'FAILED':<7} {row.route}/{row.model} ({row.provider}, {label})"
    if row.code:
        return f"{head}\n        {row.code}: {row.said or 'no answer'}"
    if row.replay and not row.tool_called:
        return f"{head}\n        the script is there, and has nothing for this question"
    tokens = f"{row.input_tokens} tokens out, {row.output_tokens} in{' (estimated)' if row.estimated else ''}"
    tool = "called the tool" if row.tool_called else "answered, and called NO tool"
    figures = f"first byte {row.first_byte_ms:.0f} ms, whole answer {row.seconds:.2f} s"
    return f"{head}\n        {tool}; {figures}; {tokens}; {row.cost}"

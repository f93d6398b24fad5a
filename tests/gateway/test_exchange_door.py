"""One door of the gateway, exchange by exchange, without I/O: when it is shut, and for whose failure."""

from model_upstream import delta, whole
from playbook import Playbook, code

from ringfence.gateway import conversation as c
from ringfence.gateway.circuit import MOST_FAILURES
from ringfence.gateway.door import MAX_FAULTS, MAX_LOOKUPS, MAX_REFUSALS
from ringfence.gateway.exchange import PAUSES
from ringfence.gateway.request import MODELS, Head


def test_a_door_that_is_shut_says_its_first_reason_for_ever() -> None:
    play = Playbook()
    assert code(play.ask(model="other")) == (403, "model_not_approved")
    play.say(c.Went())
    command = play._recording(play.begin())
    assert code(command) == (403, "model_not_approved")
    assert [call.rule for call in play.recorded] == ["models.routes", "gateway.door"]


def test_a_door_that_refuses_too_often_is_shut() -> None:
    play = Playbook()
    for _ in range(MAX_REFUSALS):
        play._recording(play.begin(Head(b"GET", b"/admin", b"1.1", ())))
    assert play.told == ["too_many_refusals"]
    assert play.door.exhausted


def test_a_flood_of_lookups_is_refused() -> None:
    play = Playbook()
    head = Head(b"GET", MODELS, b"1.1", ())
    for _ in range(MAX_LOOKUPS):
        command = play.begin(head)
        assert isinstance(command, c.Respond)
        assert command.status == 200
    assert play.recorded == []
    assert code(play._recording(play.begin(head))) == (400, "too_many_lookups")


def page(play: Playbook) -> c.Command | None:
    """A request, a second later, that the provider answers with a web page."""
    play.now += 1
    play.ask()
    play.say(c.Answered(200, "text/html", 0.0))
    play.say(c.Piece(b"<html>"))
    return play.say(c.Ended())


def test_a_provider_that_never_answers_shuts_the_door_in_the_end() -> None:
    play = Playbook(requests=99, input_tokens=10**6, output_tokens=10**6)
    answers = [page(play) for _ in range(MAX_FAULTS)]
    *before, last = [code(answer) for answer in answers]
    assert before == [(502, "upstream_not_json")] * (MAX_FAULTS - 1)
    assert last == (403, "upstream_not_json")
    assert isinstance(answers[-1], c.Respond)
    assert ("x-should-retry", "false") in answers[-1].headers
    assert play.told == ["upstream_not_json"]


def test_an_answer_in_between_gives_a_provider_all_its_tries_again() -> None:
    play = Playbook(requests=99, input_tokens=10**6, output_tokens=10**6)
    for _ in range(3):
        for _ in range(MAX_FAULTS - 1):
            page(play)
        play.ask()
        play.say(c.Answered(200, "application/json", 0.0))
        play.say(c.Piece(whole("hi")))
        play.say(c.Ended())
    assert play.told == []


def test_streams_that_break_after_their_first_byte_count_too() -> None:
    play = Playbook(requests=99, input_tokens=10**6, output_tokens=10**6)
    for _ in range(MAX_FAULTS):
        play.now += 1
        play.streaming()
        play.say(c.Piece(delta("Hello")))
        play.say(c.Went())
        play.say(c.Went())
        play.say(c.Failed())
    assert play.told == ["upstream_cut"]


def test_requests_that_fail_side_by_side_count_once() -> None:
    door = Playbook().door
    assert not any(door.failed("upstream_failed", since=100, now=101 + n / 10) for n in range(16))
    more = [door.failed("upstream_failed", since=103 + n, now=103.5 + n) for n in range(MAX_FAULTS - 1)]
    assert more == [False] * (MAX_FAULTS - 2) + [True]


def test_a_route_that_is_left_alone_counts_as_what_opened_its_circuit() -> None:
    play = Playbook(requests=99)
    for n in range(MOST_FAILURES):
        play.door.circuit.failed("busy", play.now + n / 10)
    for _ in range(MAX_FAULTS):
        play.now += 1
        play.ask()
        for _ in PAUSES:
            command = play.say(c.Went())
    assert code(command) == (403, "circuit_open")
    assert play.told == ["upstream_busy"]

"""Conversations of the proxy as playbooks: every command in its order, without a socket."""

import ssl

import pytest
from world import GOOD, OTHER, POLICY, PRIVATE, PUBLIC

from ringfence.egress import conversation as c
from ringfence.egress.door import MAX_REFUSALS, Door, Meter
from ringfence.egress.exchange import Exchange

FOUND, CONNECTED, OK, WENT = c.Found((PUBLIC,)), c.Connected(PUBLIC), c.Acknowledged(True), c.Went()
CONNECT = f"CONNECT {GOOD}:443 HTTP/1.1\r\nHost: {GOOD}:443\r\n\r\n".encode()
GET = f"GET http://{GOOD}/x HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode()


def hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def door(**meter: int) -> Door:
    return Door(POLICY, Meter(**{"requests_left": 9, "sent_left": 1 << 20, "received_left": 1 << 20, **meter}), print)


def play(at: Door, *replies: c.Reply) -> list[c.Command]:
    """The commands of one connection that is given these replies, and then nothing but that the sandbox left."""
    steps = Exchange(at, lambda: 0.0).run()
    commands = []
    given = iter(replies)
    try:
        command = next(steps)
        while True:
            commands.append(command)
            command = steps.send(next(given, c.Left() if not isinstance(command, c.Record) else OK))
    except StopIteration:
        return commands


def kinds(commands: list[c.Command]) -> list[str]:
    return [type(command).__name__ for command in commands]


def moments(commands: list[c.Command]) -> list[tuple[str, str]]:
    return [(one.attempt.moment, one.attempt.rule) for one in commands if isinstance(one, c.Record)]


def said(commands: list[c.Command]) -> bytes:
    return b"".join(one.content for one in commands if isinstance(one, c.Say))


def test_a_tunnel_is_recorded_looked_up_dialled_and_only_then_confirmed() -> None:
    first = hello(GOOD)
    relayed = c.Relayed(10, 20, "")
    commands = play(door(), c.Piece(CONNECT), OK, FOUND, CONNECTED, WENT, c.Piece(first), relayed, OK)
    assert kinds(commands) == ["Hear", "Record", "Look", "Dial", "Say", "Hear", "Relay", "Record"]
    assert moments(commands) == [("asked", "good"), ("ended", "good")]
    assert commands[3] == c.Dial((PUBLIC,), 443)
    assert isinstance(commands[6], c.Relay) and commands[6].first == first
    assert isinstance(commands[7], c.Record)
    assert (commands[7].attempt.sent, commands[7].attempt.received) == (10, 20)


def test_a_hello_that_came_with_connect_is_judged_too() -> None:
    commands = play(door(), c.Piece(CONNECT + hello(OTHER)), OK, FOUND, CONNECTED, WENT)
    assert kinds(commands) == ["Hear", "Record", "Look", "Dial", "Say", "Record", "Say"]
    assert moments(commands) == [("asked", "good"), ("denied", "network.sni")]


def test_a_denied_name_is_recorded_and_nothing_else() -> None:
    commands = play(door(), c.Piece(CONNECT.replace(GOOD.encode(), OTHER.encode())), OK, WENT)
    assert kinds(commands) == ["Hear", "Record", "Say"]
    assert moments(commands) == [("denied", "network.setup")]
    assert said(commands).startswith(b"HTTP/1.1 403 ")


def test_nothing_is_looked_up_when_the_question_is_not_recorded() -> None:
    at = door()
    commands = play(at, c.Piece(CONNECT), c.Acknowledged(False), WENT)
    assert kinds(commands) == ["Hear", "Record", "Say"]
    assert said(commands).startswith(b"HTTP/1.1 403 ")
    assert at.denied == "not_recorded"


def test_one_address_that_may_not_be_reached_denies_them_all() -> None:
    commands = play(door(), c.Piece(CONNECT), OK, c.Found((PUBLIC, PRIVATE)), OK, WENT)
    assert kinds(commands) == ["Hear", "Record", "Look", "Record", "Say"]
    assert moments(commands) == [("asked", "good"), ("denied", "network.address")]


def test_an_address_that_was_not_checked_is_not_spoken_to() -> None:
    """Whatever the sockets do: the conversation takes no other address than those it judged."""
    commands = play(door(), c.Piece(CONNECT), OK, FOUND, c.Connected(PRIVATE), OK, WENT)
    assert kinds(commands) == ["Hear", "Record", "Look", "Dial", "Record", "Say"]
    assert said(commands).startswith(b"HTTP/1.1 502 ")


def test_a_plain_request_is_written_anew_and_answered() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\nX: y\r\n\r\nok"
    commands = play(door(), c.Piece(GET), OK, FOUND, CONNECTED, WENT, c.Piece(answer), WENT, WENT, WENT, OK)
    sent = b"".join(one.content for one in commands if isinstance(one, c.SayServer))
    assert sent == f"GET /x HTTP/1.1\r\nhost: {GOOD}\r\nconnection: close\r\n\r\n".encode()
    assert said(commands) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nok"
    assert moments(commands) == [("asked", "plain"), ("ended", "plain")]
    assert kinds(commands)[-1] == "Hear", "the sandbox may ask again"


def test_a_cut_answer_is_not_passed_on_as_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"
    commands = play(door(), c.Piece(GET), OK, FOUND, CONNECTED, WENT, c.Piece(answer), WENT, WENT, c.Piece(b""), OK)
    assert moments(commands)[-1] == ("ended", "plain")
    last = commands[-1]
    assert isinstance(last, c.Record) and last.attempt.reason == "garbled", "and the connection ends"


def test_an_answer_that_switches_protocols_is_no_answer() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    commands = play(door(), c.Piece(GET), OK, FOUND, CONNECTED, WENT, c.Piece(answer), WENT, OK)
    assert b"101" not in said(commands)
    assert said(commands).startswith(b"HTTP/1.1 502 ")


def test_what_would_go_beyond_the_budget_is_not_sent() -> None:
    commands = play(door(sent_left=5), c.Piece(GET), OK, FOUND, CONNECTED, OK)
    assert "SayServer" not in kinds(commands)
    assert moments(commands) == [("asked", "plain"), ("denied", "limits.network.sent")]


def test_a_door_that_refused_too_often_stops_to_answer() -> None:
    at = door()
    at.refusals = MAX_REFUSALS - 1
    play(at, c.Piece(b"nonsense\r\n\r\n"), OK, WENT)
    assert at.exhausted


def test_a_door_shut_by_a_failed_record_lets_nothing_out() -> None:
    at = door()
    at.final("not_recorded")
    commands = play(at, c.Piece(CONNECT), OK, WENT)
    assert moments(commands) == [("denied", "egress.door")]

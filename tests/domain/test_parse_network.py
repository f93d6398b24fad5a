"""Rules of the network section that read requests: what they may say, and what is refused."""

import pytest
from team import changed, problems_of

from ringfence.domain.boundary import Boundary
from ringfence.domain.parse import parse

#: A registry, a rule that inspects it, and one that puts something on; each of the rules is wrong.
HOST = "host: a.example.internal, purpose: registry"
READ = f"{HOST}, inspect: true"
PUT = f"{READ}, methods: [GET], paths: [/a/**], credential: {{ secret: house-models, scheme"
RULES = [
    (f"{{ {HOST}, methods: [GET] }}", "nobody sees what is asked for"),
    (f"{{ {HOST}, paths: [/a] }}", "nobody sees what is asked for"),
    (f"{{ {HOST}, credential: {{ secret: house-models, scheme: bearer }} }}", "nobody sees what is asked for"),
    (f"{{ {READ}, methods: [get] }}", "methods"),
    (f"{{ {READ}, methods: [TRACE] }}", "methods"),
    (f"{{ {READ}, methods: [GET, GET] }}", "listed twice"),
    (f"{{ {READ}, paths: [simple/**] }}", "begins with /"),
    (f"{{ {READ}, paths: [/a/../b] }}", "dot segment"),
    (f"{{ {READ}, paths: [/a//b] }}", "empty segment"),
    (f"{{ {READ}, paths: ['/a%2Fb'] }}", "write the slash itself"),
    (f"{{ {READ}, paths: ['/a%252Fb'] }}", "only serves to hide"),
    (f"{{ {READ}, paths: ['/a/x**'] }}", "whole components"),
    ("{ host: db.example.internal, purpose: service, inspect: true }", "cannot be inspected"),
    (f"{{ {PUT}: bearer }} }}", "is no secret with purpose `registry`"),
    (f"{{ {READ}, credential: {{ secret: house-models, scheme: bearer }} }}", "over-broad"),
    (f"{{ {READ}, methods: [GET], paths: [/**], credential: {{ secret: house-models, scheme: bearer }} }}",
     "over-broad"),
    (f"{{ {PUT}: basic }} }}", "`username` belongs to"),
    (f"{{ {PUT}: bearer, header: X }} }}", "`header` belongs to"),
    (f"{{ {PUT}: header, header: Host }} }}", "no place for a credential"),
    (f"{{ {PUT}: bearer }} }}".replace("a.example.internal", "'*.example.internal'"), "for one host"),
    (f"{{ {HOST}, commands: [make all] }}", "is no set-up command"),
    (f"{{ {READ} }}, {{ {HOST} }}", "would let everything pass"),
    (f"{{ {READ} }}, {{ {READ} }}", "listed twice"),
    (f"{{ {HOST} }}, {{ {HOST}, cidrs: [10.2.0.0/24] }}", "other networks by another rule"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "what"), RULES)
def test_rules_that_read_requests_say_what_they_mean(rules: str, what: str) -> None:
    found = problems_of(changed("network: { setup: []", f"network: {{ setup: [{rules}]"))
    assert [problem for problem in found if what in str(problem)], [str(problem) for problem in found]


@pytest.mark.parametrize(("phase", "what"), [("agent", "an agent is one command"), ("validation", "is no check")])
def test_a_rule_for_single_commands_names_those_of_its_phase(phase: str, what: str) -> None:
    rule = f"{phase}: [{{ {HOST}, commands: [nothing] }}]"
    found = problems_of(changed(f"{phase}: []", rule))
    assert [problem for problem in found if what in str(problem)], [str(problem) for problem in found]


def test_rules_that_read_requests_can_be_written() -> None:
    rules = (
        f"{{ {READ}, methods: [GET], paths: [/simple/**], credential: {{ secret: hub, scheme: bearer }} }}, "
        f"{{ {READ}, methods: [POST], paths: [/audit], commands: ['python -m compileall -q src'] }}"
    )
    text = changed("network: { setup: []", f"network: {{ setup: [{rules}]")
    secrets = (
        "{ name: hub, purpose: registry }\n  - { name: decoy, purpose: canary }\n  - { name: host-mint, purpose: mint }"
    )
    assert isinstance(parse(text.replace("{ name: host-mint, purpose: mint }", secrets)), Boundary)

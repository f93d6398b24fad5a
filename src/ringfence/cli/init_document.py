"""The text of a first boundary: commented, strict, at stage observe. What is not known is marked `<…>`.

`ringfence boundary check` refuses a document as long as such a mark stands in it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.cli.init_look import Found, FoundCheck
from ringfence.domain.parse.crosschecks.branches import CONTROL_FILES


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person said; None where nothing was said."""

    owner: str | None
    requester: str | None
    repository: str | None
    location: str
    toolchain: str | None
    today: str


def document(found: Found, answers: Answers) -> str:
    """The whole text."""
    repository = answers.repository or found.name or "<owner/name at the code host>"
    base = found.base or "main"
    owner = _quoted(answers.owner or "<name of the person who signs>")
    parts = (
        _HEAD.format(name=_quoted(f"First boundary of {repository}"), owner=owner, signed=answers.today),
        _PLACES.format(location=_quoted(answers.location), repository=_quoted(repository), base=_quoted(base)),
        f"    instructions: {_list(found.instructions)}\n" if found.instructions else "",
        _BRANCHES.format(base=_quoted(base), paths="".join(f"    - {glob}\n" for _, glob in CONTROL_FILES)),
        _commands(found, answers, repository),
        _REST.format(
            owner=owner,
            repository=_quoted(repository),
            requester=_quoted(answers.requester or "<account name at the tracker>"),
        ),
    )
    return "".join(parts)


def _quoted(text: str) -> str:
    """A YAML scalar that means exactly this text."""
    return json.dumps(text)


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(word) for word in words)}]"


def _commands(found: Found, answers: Answers, repository: str) -> str:
    tools = ["system"]
    path = ["/usr/bin"]
    lines = [_TOOLCHAINS]
    if answers.toolchain:
        lines.append(f"    tools: {{ source: {_quoted(answers.toolchain)}, target: /opt/tools }}\n")
        tools.append("tools")
        path.insert(0, "/opt/tools/bin")
    lines.append(f"  repositories:\n    {_quoted(repository)}:\n")
    lines.append(f"      toolchains: {_list(tools)}\n      path: {_list(path)}\n      checks:\n")
    unknown = FoundCheck("test", "test", ("<the command that tests the repository>",), "no build file was recognised")
    for check in found.checks or (unknown,):
        shown = f"{{ name: {check.name}, kind: {check.kind}, run: {_list(check.run)} }}"
        lines.append(f"        - {shown} # {check.because}\n")
    if found.tests:
        lines.append(f"      tests: {_list(found.tests)}\n")
    return "".join(lines)


_HEAD = """\
# What a Ringfence worker may do. Written by `ringfence init`; review it, then have it reviewed.
#   ringfence boundary check FILE    every problem, with its place and what to write instead
#   ringfence boundary show FILE     the same for people: what leaves, to whom, who signed
# docs/boundary.md describes every key. What is not allowed here is denied.
version: 1
name: {name}

# Who answers for which section. Split it among the people who really do: platform, security, engineering.
owners:
  - name: {owner}
    role: platform
    sections: [checkout, repositories, branches, commands, network, logs, models, secrets, tickets, limits, approval]
    signed: {signed}
"""

_PLACES = """
checkout:
  location: {location} # the worker's state directory lies in here
  cache: {{ keep: 30d, size: 20GiB }}
  cleanup: always

repositories:
  - name: {repository}
    access: write # tickets may be about it; `stage` says what may be done
    base: {base}
    stage: observe # observe: a brief for people, no model. Then branch, then pull_request
    data_class: internal
"""

_BRANCHES = """
branches:
  prefix: ringfence/
  protected: [{base}, release/*]
  protected_paths: # who can change these can change what judges the change
{paths}  handoff: pull_request
"""

_TOOLCHAINS = """
commands:
  # Read-only trees of this host that sandboxes see; nothing else is visible. Linters and test runners of the
  # repository that are not below /usr go into a directory of their own: `ringfence init --toolchain DIR`.
  toolchains:
    system: { source: /usr, target: /usr }
"""

_REST = """
network: {{ setup: [], agent: [], validation: [] }} # nothing is reachable

logs:
  retention: 90d
  bodies: 14d # prompts and answers; their digests stay with the log
  readers: [{owner}]
  access: owner
  exchanges: full # prompts and answers are kept, redacted
  redaction: {{}}

# No model is called at stage observe. A route is written like this, and then `default: house/MODEL`:
#   - name: house
#     provider: openai
#     endpoint: https://models.example.internal/v1
#     models: [MODEL]
#     repositories: [OWNER/NAME]
#     data_classes: [internal]
#     prompts_logged: where, and for how long
#     outputs_logged: where, and for how long
#     retention: disabled, or by which contract restricted
#     internal: true
models:
  routes: []
  fallback: none

# By name only; the settings say where the value is kept. `minted` is a token for one repository and a few minutes.
# Publishing needs a further one, `purpose: publish`. Where the code host cannot mint: `kind: durable` and a `reason`.
secrets:
  - {{ name: host-mint, purpose: mint }}
  - {{ name: code-read, purpose: checkout, repositories: [{repository}], kind: minted, minter: host-mint }}

tickets:
  types: [bug, task]
  requesters: [{requester}]
  approvers: []

limits:
  run: {{ time: 1h, attempts: 3, turns: 60, requests: 200, input_tokens: 4000000, output_tokens: 400000 }}
  sandbox:
    memory: 2GiB
    processes: 256
    cpus: 2
    cpu_time: 30m
    file: 512MiB
    disk: 4GiB
    temporary: 512MiB
    output: 4MiB
    cgroup: preferred
  patch: {{ files: 50, file: 1MiB, total: 4MiB }}
  brief_tokens: 16000

approval: {{ pull_request: draft, merge: human, reviewers: 1 }}
"""

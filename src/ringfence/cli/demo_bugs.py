"""Ten one-line bugs, each a repository with a failing test and a ticket, for the demo with a small local model."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ringfence.demo_content import text

_TEST = """import unittest

from {module} import {function}


class Test{title}(unittest.TestCase):
    def test_{function}(self):
{body}
"""
_TICKET = """---
id: {id}
title: {title}
type: bug
repository: {repository}
requester: dana
approved_by: [kim]
---

{ticket}
"""
_REPOSITORY = """  - name: {name}
    access: write
    base: main
    stage: pull_request
    data_class: internal"""
#: The same server in each protocol that it speaks; agents are given the first, `ringfence models check` asks all.
_ROUTE = """    - name: {name}
      provider: {provider}
      endpoint: "{endpoint}"
      protocols: [{protocol}]
      models: [{model}]
      repositories: [{names}]
      data_classes: [internal]
      prompts_logged: nowhere, the server is a process of this demo and ends with it
      outputs_logged: nowhere, the server is a process of this demo and ends with it
      retention: disabled, nothing leaves this host
      internal: true"""
_COMMANDS = """    {name}:
      toolchains: [system]
      path: [/usr/bin]
      checks:
        - name: test
          kind: test
          run: [python3, -B, -m, unittest, -q]
          timeout: 1m
      tests: ["test_*.py"]"""


@dataclass(frozen=True, slots=True)
class Bug:
    """One of them."""

    number: int
    name: str
    title: str
    ticket: str
    module: str
    test: str

    @property
    def id(self) -> str:
        """Of its ticket."""
        return f"BUG-{self.number}"

    @property
    def repository(self) -> str:
        """Its name at the code host."""
        return f"demo/{self.name}"

    def write(self, root: Path) -> None:
        """The repository's files below its own directory, and the ticket beside the others."""
        source, tickets = root / self.name, root / "tickets"
        source.mkdir(parents=True)
        tickets.mkdir(exist_ok=True)
        function = self.module.partition("def ")[2].partition("(")[0]
        module = self.module.lstrip("\n")
        (source / f"{self.name}.py").write_text(module, "utf-8")
        body = self.test.strip("\n")
        test = _TEST.format(module=self.name, function=function, title=self.name.title(), body=body)
        (source / f"test_{self.name}.py").write_text(test, "utf-8")
        fields = {"id": self.id, "title": self.title, "repository": self.repository, "ticket": self.ticket}
        (tickets / f"{self.id}.md").write_text(_TICKET.format(**fields), "utf-8")


def bugs() -> tuple[Bug, ...]:
    """All ten, in the order of the file."""
    listed = tomllib.loads(text("bugs.toml"))["bug"]
    return tuple(Bug(number=number, **fields) for number, fields in enumerate(listed, 1))


def boundary_blocks(chosen: tuple[Bug, ...], endpoint: str, models: tuple[str, str, str]) -> dict[str, str]:
    """What the sample boundary says of each repository, and of the server in each protocol: values of placeholders."""
    repositories = [bug.repository for bug in chosen]
    names = ", ".join(repositories)
    spoken = (("local", "openai", "chat"), ("local-responses", "openai", "responses"))
    ways = (*spoken, ("local-messages", "anthropic", "messages"))
    routes = [
        _ROUTE.format(name=name, provider=provider, protocol=protocol, model=model, endpoint=endpoint, names=names)
        for (name, provider, protocol), model in zip(ways, models, strict=True)
    ]
    return {
        "repositories": "\n".join(_REPOSITORY.format(name=name) for name in repositories),
        "commands": "\n".join(_COMMANDS.format(name=name) for name in repositories),
        "routes": "\n".join(routes),
        "model": models[0],
        "names": names,
    }

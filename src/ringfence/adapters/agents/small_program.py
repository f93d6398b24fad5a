"""The built-in agent's mode for a small model: one function of one file, a proposal, the checks, at most eight tries.

A model of a few hundred million parameters calls no tools and reads no long brief. So the program does everything but
the thinking: it finds the file and the function that the ticket names, asks for the function anew, puts the answer in
its place, and runs the commands that the brief says will judge it. When no try passes, the file is as it was.

It runs inside the sandbox like builtin_program.py, whose wire, events and commands it uses: that file lies beside it.
"""

import ast
import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

TRIES = 8
CHECK_SECONDS = 60.0
ANSWER_TOKENS = 200
SOURCE_CAP = 4_000  # characters of a function that a small model can be asked about
ASK = """This Python function has a bug.

```python
{source}
```

{ticket}

Reply with the corrected function `{name}` only, as Python code."""

_MARKER = re.compile(r"Text between <(\S+)> and </\1>")
_CHECK = re.compile(r"^- [^\n]*, must pass\): `([^`\n]+)`$", re.MULTILINE)
_PATH = re.compile(r"[\w./-]+\.py\b")
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")


def beside() -> Any:
    """The built-in agent's program: handed in with this one, and not found by any name of the checkout."""
    spec = importlib.util.spec_from_file_location("ringfence_agent", Path(__file__).with_name("agent.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Target:
    """One function of one file, and how it is put in anew."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.text = path.read_text("utf-8")
        found = function(self.text, name)
        if found is None:
            raise ValueError(f"{path} has no function {name}")
        self.first, self.last = found
        self.source = "".join(self.text.splitlines(keepends=True)[self.first : self.last])

    def put(self, source: str) -> None:
        """Write the file with another text in the place of the function."""
        lines = self.text.splitlines(keepends=True)
        self.path.write_text("".join([*lines[: self.first], source + "\n", *lines[self.last :]]), "utf-8")

    def put_back(self) -> None:
        """Write the file as it was."""
        self.path.write_text(self.text, "utf-8")


class SmallWork:
    """Asks, tries and puts back; it always ends by `End`."""

    def __init__(self, model: Any, turns: int, brief: str) -> None:
        self.model, self.turn, self.tries = model, 0, min(turns, TRIES)
        self.ticket, self.commands = read_brief(brief)

    def loop(self) -> NoReturn:
        """Tries until one passes every check, or all are used."""
        target = find(self.ticket)
        if target is None:
            raise agent.End("gave_up", "small mode needs a ticket that names one Python file and one function in it")
        if not self.commands:
            raise agent.End("gave_up", "small mode needs a check that must pass")
        question = ASK.format(source=target.source, ticket=self.ticket, name=target.name)
        passed = False
        try:
            while not passed and self.turn < self.tries:
                passed = self.passes(target, self.propose(question))
        finally:
            if not passed:
                target.put_back()
        if passed:
            raise agent.End("finished", f"try {self.turn} of {self.tries} passed the checks")
        raise agent.End("gave_up", f"none of {self.tries} tries passed the checks; the file is as it was")

    def propose(self, question: str) -> str:
        """One answer: the likeliest at first, then others, each by its own seed."""
        self.turn += 1
        warmth = 0.0 if self.turn == 1 else 0.8
        self.model.asked = {"max_tokens": ANSWER_TOKENS, "temperature": warmth, "seed": self.turn}
        began = time.monotonic()
        answer = self.model.ask([{"role": "user", "content": question}])
        seconds = round(time.monotonic() - began, 3)
        agent.emit("turn", n=self.turn, seconds=seconds, usage=agent.usage(answer.usage))
        agent.emit("message", text=agent.short(answer.content))
        return str(answer.content)

    def passes(self, target: Target, answer: str) -> bool:
        """Whether every check passes with what was proposed."""
        source = code_of(answer, target.name)
        if source is None:
            agent.emit("tool", name="try", error="the answer holds no such function")
            return False
        target.put(source)
        for command in self.commands:
            left = self.model.deadline - time.monotonic()
            output, ended = agent.run_command(command, min(CHECK_SECONDS, left))
            agent.emit("tool", name="try", command=command, ended=ended, output=agent.short(output))
            if ended != "exit code 0":
                return False
        return True


def read_brief(brief: str) -> tuple[str, list[str]]:
    """The quoted text of the ticket, and the commands that must pass. The operator's parts come before quoted ones."""
    head, _, rest = brief.partition("\n## Ticket ")
    marker = _MARKER.search(head)
    if marker is None or not rest:
        return "", []
    quoted = rest.partition(f"<{marker[1]}>\n")[2].partition(f"\n</{marker[1]}>")[0]
    return quoted.removeprefix("Title: ").strip(), _CHECK.findall(head)


def find(ticket: str) -> Target | None:
    """The first function named of the first file named that is there, and not too long to ask about."""
    for path in (Path(match[0]) for match in _PATH.finditer(ticket)):
        if path.is_absolute() or ".." in path.parts or path.is_symlink() or not path.is_file():
            continue
        for word in _WORD.findall(ticket):
            try:
                target = Target(path, word)
            except (OSError, ValueError, SyntaxError, RecursionError):
                continue
            if len(target.source) <= SOURCE_CAP:
                return target
    return None


def function(text: str, name: str) -> tuple[int, int] | None:
    """The lines of a function at the top of a module: the first, and the one behind the last."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name and node.end_lineno is not None:
            return node.lineno - 1, node.end_lineno
    return None


def code_of(answer: str, name: str) -> str | None:
    """The function in an answer, from its `def` on; None when it is no Python. The last one counts, as in Python."""
    lines = answer.expandtabs(4).split("\n")
    starts = [n for n, line in enumerate(lines) if re.match(rf"def {name}\(", line)]
    if not starts:
        return None
    start, end = starts[-1], starts[-1] + 1
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    source = "\n".join(lines[start:end]).rstrip()
    try:
        found = function(source, name)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return source if found is not None else None


if __name__ == "__main__":
    agent = beside()
    sys.exit(agent.main(SmallWork))

"""Ten one-line bugs and a real, small model: each a ticket, carried the whole way. Nothing is scripted.

The table of docs/local-model.md is what this prints. `script/local-model`; with `--only BUG-3` it writes nothing.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringfence.cli.demo_bugs import Bug, bugs
from ringfence.cli.demo_local import LABEL, local_model, versions, write_sample
from ringfence.cli.demo_site import Sample, site
from ringfence.domain.events import AgentEnded, ModelCalled
from ringfence.settings import load
from ringfence.wiring import Worker, working

PAGE = Path(__file__).parents[1] / "docs" / "local-model.md"
BEGIN, END = "<!-- written by script/local-model -->\n", "<!-- end -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one ticket."""

    bug: Bug
    outcome: str  # as the run's log has it
    tries: int
    seconds: float  # of the model alone
    tokens: int  # that the model wrote
    whole: float  # seconds of the whole run

    @property
    def fixed(self) -> bool:
        """Whether a pull request was opened, which takes checks that pass."""
        return self.outcome == "pull_request"


@contextmanager
def furnishing(root: Path) -> Iterator[Sample]:
    """The demo's sample with its model, as long as the block runs."""
    with local_model(root / "local-model") as endpoint:
        yield write_sample(root, endpoint)


def carried(worker: Worker, bug: Bug) -> Row:
    """One ticket, to its end."""
    run = worker.submit(bug.id)
    worker.engine.wait(run)
    view, events = worker.reading.view(run), worker.reading.events(run)
    calls = [event for event in events if isinstance(event, ModelCalled)]
    tries = max((event.turns for event in events if isinstance(event, AgentEnded)), default=0)
    records = worker.reading.log.records(run)
    return Row(
        bug,
        view.outcome if view.outcome == "pull_request" else f"{view.outcome}: {view.reason}",
        tries,
        sum(call.seconds for call in calls),
        sum(call.output_tokens for call in calls),
        records[-1].time - records[0].time,
    )


def protocols(root: Path) -> Iterable[str]:
    """What `ringfence models check` says of the server in each protocol that it speaks; Markdown."""
    command = [sys.executable, "-m", "ringfence.cli.main", "models", "check", "--json"]
    done = subprocess.run([*command, "--settings", str(root / "ringfence.toml")], stdout=subprocess.PIPE, check=False)
    yield "| protocol | through the gateway | tool called | tokens in the prompt, written |"
    yield "| --- | --- | --- | --- |"
    for row in json.loads(done.stdout)["routes"]:
        answered = "answered" if not row["code"] else f"{row['code']}: {row['said']}"
        tool, tokens = "yes" if row["tool_called"] else "no", f"{row['input_tokens']}, {row['output_tokens']}"
        yield f"| {row['protocol']} | {answered} | {tool} | {tokens} |"


def table(rows: list[Row]) -> Iterable[str]:
    """Markdown, with the sums in front."""
    fixed = [row for row in rows if row.fixed]
    first = sum(row.tries == 1 for row in fixed)
    tries, seconds = sum(row.tries for row in rows), sum(row.seconds for row in rows)
    yield f"**{len(fixed)} of {len(rows)} fixed, {first} of them at the first try.** {tries} answers,"
    yield f"{seconds:.0f} seconds of the model, {sum(row.whole for row in rows):.0f} seconds of runs in all."
    yield ""
    yield f"Model: {LABEL}; {versions()}; {platform.system()} {platform.machine()}, Python {platform.python_version()}."
    yield ""
    yield "| bug | what is wrong | fixed | tries | seconds of the model | tokens written | run | outcome |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        yield (
            f"| {row.bug.name} | {row.bug.title} | {'yes' if row.fixed else 'no'} | {row.tries} | {row.seconds:.1f} "
            f"| {row.tokens} | {row.whole:.1f} s | {row.outcome} |"
        )


def write(text: str) -> None:
    """Put the table into its page."""
    page = PAGE.read_text("utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n\n{END}{rest.split(END)[1]}", "utf-8")


def main() -> None:
    """Carry the tickets, print, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="BUG-N")
    options = parser.parse_args()
    root = options.directory.absolute()
    chosen = [bug for bug in bugs() if not options.only or bug.id in options.only]
    rows = []
    with site(root, furnishing(root)):
        spoken = "\n".join(protocols(root))
        print(f"{spoken}\n", flush=True)
        with working(load(root / "ringfence.toml")) as worker:
            for bug in chosen:
                row = carried(worker, bug)
                rows.append(row)
                said = f"{row.outcome:<24} {row.tries} tries  {row.seconds:6.1f} s"
                print(f"{bug.id:<7} {bug.name:<12} {said}", flush=True)
    text = "\n".join(
        [*table(rows), "", "And the server that is not ours, in each protocol that it speaks:", "", spoken]
    )
    print(f"\n{text}")
    if not options.only:
        write(text)


if __name__ == "__main__":
    main()

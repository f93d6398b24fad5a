"""Writes what real runs here have shown into docs/agents.md. Usage: table.py RESULTS PAGE"""

import json
import sys
from pathlib import Path
from typing import Any

from agents.faults import FAULTS, NAMES
from ringfence.adapters.agents.external.table import TABLE

BEGIN, END = "<!-- begin: written by script/agents --table -->\n", "<!-- end -->\n"
BEGIN_FAULTS = "<!-- begin: faults, written by script/agents --table -->\n"
HEAD = (
    "| agent | version | protocol | a ticket | hostile checkout | first request | whole | memory | requests "
    "| reached for, and refused |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def rows(results: list[dict[str, Any]]) -> str:
    """One line an agent; what was not run here says so."""
    lines = []
    for name, entry in TABLE.items():
        mine = {row["kind"]: row for row in results if row["name"] == name and row["kind"] != "fault"}
        plain = mine.get("plain")
        cells = [name, entry.version, entry.protocol, "works" if plain else "not run"]
        cells.append("steered nothing" if "hostile" in mine else "not run")
        shown = plain or mine.get("hostile")
        if shown is None:
            cells += ["", "", "", "", ""]
        else:
            hosts = sorted({_named(host) for row in mine.values() for host in row["reached_for"]})
            cells += [
                f"{shown['first_request']} s", f"{shown['seconds']:.0f} s", f"{shown['memory'] >> 20} MiB",
                str(shown["requests"]), ", ".join(hosts) or "nothing",
            ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |\n")
    return HEAD + "".join(lines)


def faults(results: list[dict[str, Any]]) -> str:
    """One line a fault, one column an agent: why the run stopped, requests at the model server, seconds."""
    seen = {(row["fault"], row["name"]): row for row in results if row["kind"] == "fault"}
    kinds = list(dict.fromkeys(fault for fault in FAULTS for name in NAMES if (fault, name) in seen))
    lines = [f"| the model | {' | '.join(NAMES)} |\n", "| --- " * (len(NAMES) + 1) + "|\n"]
    for fault in kinds:
        cells = [_cell(seen.get((fault, name))) for name in NAMES]
        lines.append(f"| {fault} | {' | '.join(cells)} |\n")
    return "".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    return "not run" if row is None else f"`{row['reason']}`, {row['requests']}, {row['seconds']} s"


def _named(host: str) -> str:
    """Registries by what they are: which one it is differs from machine to machine."""
    return "a package registry" if "registry" in host else f"`{host}`"


def main(results: Path, page: Path) -> None:
    """Put each table between its two marks of the page."""
    found = [json.loads(line) for line in results.read_text().splitlines()]
    text = page.read_text("utf-8")
    for begin, table in ((BEGIN, rows(found)), (BEGIN_FAULTS, faults(found))):
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        text = before + begin + "\n" + table + "\n" + END + after
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""The page of a boundary on a terminal, as Markdown and as one HTML file that loads nothing."""

import sys
from collections.abc import Sequence
from html import escape

from ringfence.cli.screen import plain, table
from ringfence.domain.describe import Page

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1d2428; }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } code, td { overflow-wrap: anywhere }
.digest, .signed { color: #5a666d; font-size: .9rem }
.statement { border-left: 4px solid #8a5a00; background: #fdf6e7; padding: .6rem 1rem }
table { border-collapse: collapse; width: 100%; font-size: .93rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d9dfe2 }
@media (prefers-color-scheme: dark) {
  body { background: #14181a; color: #dde4e7 } .digest, .signed { color: #9aa7ae }
  .statement { background: #2a2417 } th, td { border-color: #343c41 }
}
"""


def print_page(page: Page) -> None:
    """The page on a terminal, or as plain columns in a pipe. Nothing is cut off: an address is shown whole."""
    print(f"{plain(page.title)}\ndigest {page.digest}\n\nWhat leaves")
    for sentence in page.statement:
        print(f"  {plain(sentence)}")
    for number, flow in enumerate(page.flows, 1):
        _print_table(("", f"flow {number} of {len(page.flows)}"), tuple(zip(page.flow_headings, flow, strict=True)))
    for part in page.parts:
        print(f"\n{part.name}: {part.question}\n  signed by {plain(', '.join(part.signed))}")
        _print_table(part.headings, part.rows)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        table(headings, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape as unmarked
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(unmarked(plain(cell)) for cell in row))
    Console().print(drawn)


def markdown(page: Page) -> str:
    """The page as Markdown, for a wiki or a pull request."""
    lines = [f"# {_cell(page.title)}", "", f"`{page.digest}`", "", "## What leaves", ""]
    lines += [f"- {_cell(sentence)}" for sentence in page.statement]
    lines += ["", *_markdown_table(page.flow_headings, page.flows)] if page.flows else []
    for part in page.parts:
        lines += ["", f"## {part.name}", "", part.question, "", f"Signed by {_cell(', '.join(part.signed))}.", ""]
        lines += _markdown_table(part.headings, part.rows)
    return "\n".join(lines) + "\n"


def html(page: Page) -> str:
    """The page as one HTML file: everything escaped, no script, nothing loaded from anywhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in page.statement)
    parts = "".join(
        f'<section id="{part.name}"><h2>{part.name}</h2><p>{escape(part.question)}</p>'
        f'<p class="signed">Signed by {escape(", ".join(part.signed))}</p>'
        f"{_html_table(part.headings, part.rows)}</section>"
        for part in page.parts
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(page.title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(page.title)}</h1><p class="digest"><code>{escape(page.digest)}</code></p>'
        f'<h2>What leaves</h2><div class="statement">{sentences}</div>'
        f"{_html_table(page.flow_headings, page.flows) if page.flows else ''}{parts}</body></html>\n"
    )


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    return lines + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


def _cell(text: str) -> str:
    """Text that is only text in Markdown: no HTML, no links, no formatting, one line."""
    for mark in "\\`*_[]<>|~#!":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return " ".join(text.split())


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

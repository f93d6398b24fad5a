"""A proof as one HTML file for a reviewer: everything escaped, no script, nothing loaded from anywhere."""

from html import escape

from ringfence.prove.claim import Proof, Verdict
from ringfence.prove.suite import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1d2428; }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } td { overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: .93rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d9dfe2 }
.holds { color: #1b6e3c } .broken { color: #b3261e; font-weight: 700 } .untestable { color: #6b5b00 }
td:first-child { white-space: nowrap } .facts { color: #5a666d; font-size: .9rem }
@media (prefers-color-scheme: dark) {
  body { background: #14181a; color: #dde4e7 } .facts { color: #9aa7ae } th, td { border-color: #343c41 }
  .holds { color: #7fd6a0 } .broken { color: #ff9a92 } .untestable { color: #e0cc72 }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole page."""
    title = f"Proof of the boundary {report.boundary}"
    facts = [report.digest, f"sandbox: {report.level}, proved by {report.proved_by}", f"network: {report.network}",
             f"state: {report.place}, removed", f"{report.seconds} seconds"]  # fmt: skip
    sections = dict.fromkeys(proof.section for proof in report.proofs)
    parts = "".join(_section(name, [p for p in report.proofs if p.section == name]) for name in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>"
        f"{''.join(f'<p>{escape(line)}</p>' for line in report.summary)}"
        f'<p class="facts">{"<br>".join(escape(fact) for fact in facts)}</p>{parts}</body></html>\n'
    )


def _section(name: str, proofs: list[Proof]) -> str:
    rows = "".join(_row(proof) for proof in proofs)
    head = "<tr><th>verdict</th><th>kind</th><th>statement</th><th>evidence</th></tr>"
    return f'<section id="{escape(name)}"><h2>{escape(name)}</h2><table>{head}{rows}</table></section>'


def _row(proof: Proof) -> str:
    kind = "must work" if proof.benign else "must be stopped"
    shade = {Verdict.HOLDS: "holds", Verdict.BROKEN: "broken"}.get(proof.verdict, "untestable")
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in (kind, proof.statement, proof.evidence))
    return f'<tr><td class="{shade}">{escape(proof.verdict.value)}</td>{cells}</tr>'

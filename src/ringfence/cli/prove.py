"""`prove`: the boundary is attacked on this very host, section by section, and the result can be filed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli.work import JsonOption, SettingsOption

if TYPE_CHECKING:
    from ringfence.domain.boundary import Boundary
    from ringfence.prove.claim import Proof
    from ringfence.prove.suite import Report
    from ringfence.settings import Settings


def prove(
    boundary: Annotated[
        Path | None, typer.Option("--boundary", help="The document; default: that of the settings, else boundary.yaml.")
    ] = None,
    settings: SettingsOption = None,
    json: JsonOption = False,
    section: Annotated[list[str] | None, typer.Option("--section", help="Only this section; may be repeated.")] = None,
    level: Annotated[
        str, typer.Option(help="Also claim that sandboxes here are worth this: confined, limited or separate.")
    ] = "",
    html: Annotated[Path | None, typer.Option("--html", help="Also write one HTML file, for a reviewer.")] = None,
) -> None:
    """Attack this boundary on this host, from inside real sandboxes, and show that what is allowed works.

    Every section's statements are tried: holds, broken, or not testable here with the reason. Attempts aim only at
    listeners of the proof's own, in a network of its own where forbidden addresses answer (as root); no code host,
    provider is called, and no secret of yours is opened. A registry is asked for one package when the boundary names it
    for set-up and this host's own package client is configured with it. Exit code 1 when anything is broken, 3 when
    nothing could be tried.
    """
    from dataclasses import asdict

    from ringfence.cli.screen import show_json
    from ringfence.prove.suite import prove as try_all

    configured = _settings(settings)
    path = boundary or (configured.worker.boundary if configured else Path("boundary.yaml"))
    document, text = _boundary(path)
    report = try_all(
        document,
        text,
        configured.sandbox if configured else None,
        configured.egress if configured else None,
        sections=section or (),
        level=level,
        see=_silent if json else _progress,
    )
    if json:
        proofs = [{**asdict(proof), "verdict": proof.verdict.value} for proof in report.proofs]
        show_json({**asdict(report), "proofs": proofs, "broken": report.broken, "counts": report.counts})
    else:
        print_report(report)
    if html is not None:
        from ringfence.cli.prove_page import page

        html.write_text(page(report), encoding="utf-8")
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def print_report(report: "Report") -> None:
    """A report section by section, with everything that does not hold once more at its end."""
    from ringfence.cli.screen import plain
    from ringfence.prove.claim import Verdict

    section = ""
    for proof in report.proofs:
        if proof.section != section:
            section = proof.section
            print(f"\n{section}")
        kind = "must work" if proof.benign else "must be stopped"
        print(plain(f"  {proof.verdict.value:<18}{kind:<17}{proof.statement}\n{'':<37}{proof.evidence}"))
    print(f"\n{plain(report.boundary)} {report.digest}\nsandbox: {report.level}, proved by {report.proved_by}")
    print(plain(f"network: {report.network}\nstate:   {report.place}, removed"))
    for line in report.summary:
        print(line)
    for proof in report.proofs:
        if proof.verdict is Verdict.BROKEN:
            print(plain(f"BROKEN  {proof.section}: {proof.statement}\n        {proof.evidence}"))


def _progress(proof: "Proof") -> None:
    import sys

    from ringfence.cli.screen import plain

    if sys.stderr.isatty():
        print(plain(f"{proof.verdict.value:<18} {proof.section:<13} {proof.statement}"), file=sys.stderr)


def _silent(_proof: "Proof") -> None:
    """Say nothing."""


def _settings(given: Path | None) -> "Settings | None":
    from ringfence.settings import load, settings_path

    return load(given) if given is not None or settings_path(None).exists() else None


def _boundary(path: Path) -> tuple["Boundary", bytes]:
    from ringfence.wiring import read_boundary

    return read_boundary(path)

"""`ringfence verify`: is the evidence of a run whole, and signed by a key that you trust? Works offline, anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ringfence.domain.errors import EvidenceBroken, InputError

_MEND = "ask the operator of the worker for the file evidence.pub, over a way that you trust, and give it with --key"


def verify(
    bundle: Annotated[Path, typer.Argument(help="The file <run>.bundle.tar.", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option(help="The public key that you trust (PEM). On the worker itself its own key is taken."),
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="The worker's settings file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Verify an evidence bundle: the log, the signatures, and that what was pushed is what was validated.

    Prints a line for each check and ends with `verified` (exit code 0) or `BROKEN` and what broke (exit code 5).
    The key that comes inside a bundle is never trusted: whoever forges a bundle puts a key of their own in it.
    """
    verify_bundle(bundle, key, json=json, default_key=lambda: _workers_key(settings))


def verify_bundle(bundle: Path, key: Path | None, *, json: bool, default_key: Callable[[], Path | None]) -> None:
    """The command, with `default_key` asked for the key only when none was named. Errors: `InputError`, exit code 5."""
    from ringfence.cli.screen import plain, show_json
    from ringfence.domain.bundle import LARGEST
    from ringfence.domain.evidence import verify as look

    trusted = key or default_key()
    if trusted is None:
        raise InputError("there is no key to verify with", mend=_MEND)
    pem = _read(trusted, 16_384, "key")
    try:
        findings = look(_read(bundle, LARGEST, "bundle"), pem)
    except EvidenceBroken as broken:  # the key itself; a broken bundle is a finding
        raise InputError(broken.what, where=str(trusted), mend=_MEND) from None
    broken_parts = [finding for finding in findings if not finding.ok]
    if json:
        rows = [{"check": one.check, "ok": one.ok, "detail": one.detail} for one in findings]
        show_json({"bundle": str(bundle), "verified": not broken_parts, "findings": rows})
    else:
        for one in findings:
            print(f"{'ok    ' if one.ok else 'BROKEN'}  {one.check:<10} {plain(one.detail)}")
        if broken_parts:
            print(f"BROKEN: {', '.join(one.check for one in broken_parts)}: {plain(broken_parts[0].detail)}")
        else:
            print(f"verified: {bundle}")
    if broken_parts:
        raise typer.Exit(EvidenceBroken.exit_code)


def _workers_key(settings: Path | None) -> Path | None:
    """The public key of the worker whose settings are here; None where there is no worker."""
    from ringfence.settings import load, settings_path

    if settings is None and not settings_path(None).exists():
        return None
    path = load(settings).state / "keys" / "evidence.pub"
    return path if path.exists() else None


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as failure:
        raise InputError(f"the {what} cannot be read: {failure.strerror}", where=str(path)) from None
    if len(content) > limit:
        raise InputError(f"the {what} is larger than {limit} bytes", where=str(path))
    return content

"""Validation: the declared checks, each in a fresh sandbox on a fresh tree, on the base and on the patch.

Commands come from the boundary, never from the agent's branch. A check that cannot be run has failed.
"""

from ringfence.domain.boundary import Check
from ringfence.domain.checks import BASE_TESTS, CheckResult, Report
from ringfence.domain.events import CheckEnded
from ringfence.pipeline.rooms import Rooms, Source
from ringfence.ports.artifacts import Artifacts
from ringfence.ports.audit_log import AuditLog

#: How much of a check's output is handed back for repair and shown, in characters.
_TAIL = 4000


def validate(
    run: str, source: Source, tree: str, rooms: Rooms, log: AuditLog, artifacts: Artifacts, *, side: str, attempt: int
) -> Report:
    """Run every declared check on one tree. `side` is "base", "patch" or `BASE_TESTS`, which runs only tests."""
    results = []
    for check in rooms.commands.checks:
        if side == BASE_TESTS and check.kind != "test":
            continue
        result = _check(check, source, rooms, artifacts, role=f"checks:{side}")
        results.append(result)
        log.append(
            run,
            CheckEnded(
                side=side,
                attempt=attempt,
                tree=tree,
                name=result.name,
                check_kind=result.kind,
                argv=result.argv,
                passed=result.passed,
                exit_code=result.exit_code,
                stopped=result.stopped,
                seconds=result.seconds,
                output=result.output,
                required=result.required,
            ),
            once=f"check.ended/{side}/{attempt}/{tree}/{result.name}",
        )
    return Report(tree, tuple(results))


def _check(check: Check, source: Source, rooms: Rooms, artifacts: Artifacts, *, role: str) -> CheckResult:
    room = rooms.ready(f"check-{check.name}", source)
    try:
        outcome, digest = rooms.run(rooms.spec(role, check.run, room, float(check.timeout)))
    finally:
        rooms.remove(room)
    shown = artifacts.get(digest).decode("utf-8", "replace")
    return CheckResult(
        name=check.name,
        kind=check.kind,
        argv=check.run,
        passed=outcome.exit_code == 0 and outcome.stopped is None,
        exit_code=outcome.exit_code,
        stopped=outcome.stopped,
        seconds=round(outcome.seconds, 3),
        output=digest,
        tail=shown[-_TAIL:],
        required=check.required,
    )

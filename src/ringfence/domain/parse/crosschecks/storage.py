"""Where things are kept on the worker, and what stays of a run."""

from collections.abc import Iterator

from ringfence.domain.boundary import Boundary
from ringfence.domain.errors import InputError
from ringfence.domain.parse.crosschecks.check import CrossCheck, path_fault, repeated
from ringfence.domain.parse.problem import Finding
from ringfence.domain.redaction import Redactor

_DAY, _HOUR = 86400, 3600
#: Places that hold other things too: a checkout directory there is not one that can be swept or watched.
_SHARED = (
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root", "/run",
    "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp",  # noqa: S108
)  # fmt: skip
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_ORDINARY = ("The quick brown fox jumps over the lazy dog.", "def add(left, right): return left + right", "12345")


def _checkout(boundary: Boundary) -> Iterator[Finding]:
    checkout = boundary.checkout
    location = checkout.location
    fault = path_fault(location)
    if fault:
        yield Finding(("checkout", "location"), f"{location!a} is not a place: {fault}", "for example /srv/ringfence")
    elif location in _SHARED or any(location.startswith(f"{place}/") for place in _SYSTEM):
        what = f"{location!a} is over-broad: other things of the host are kept there"
        yield Finding(
            ("checkout", "location"), what, "give the worker a directory of its own, for example /srv/ringfence"
        )
    if checkout.cache.keep == 0:
        yield Finding(("checkout", "cache", "keep"), "a mirror is kept for no time", "write for example 30d")
    if checkout.cache.size < 1 << 20:
        yield Finding(("checkout", "cache", "size"), "no mirror fits into this", "write for example 20GiB")


def _logs(boundary: Boundary) -> Iterator[Finding]:
    logs = boundary.logs
    if not _DAY <= logs.retention <= 3650 * _DAY:
        what = "a retention outside of 1d to 3650d keeps nothing to review, or keeps it for good"
        yield Finding(("logs", "retention"), what, "write what your policy says, for example 90d")
    if logs.bodies is not None and not _HOUR <= logs.bodies <= logs.retention:
        what = "bodies are kept for an hour at least, and never longer than the log that names them"
        yield Finding(("logs", "bodies"), what, "write a time from 1h up to `retention`, for example 14d")
    patterns = ("logs", "redaction", "patterns")
    yield from repeated([pattern.name for pattern in logs.redaction.patterns], patterns, last=("name",))
    for place, pattern in enumerate(logs.redaction.patterns):
        fault = _pattern_fault(pattern.name, pattern.pattern)
        if fault:
            mend = "write RE2 syntax that matches the secrets of one format and nothing else"
            yield Finding((*patterns, place, "pattern"), fault, mend)


def _pattern_fault(name: str, pattern: str) -> str | None:
    """Compiled as the redactor compiles it; a pattern that eats ordinary text would leave empty logs."""
    try:
        redactor = Redactor(patterns=[(name, pattern)])
    except InputError as error:
        return f"pattern `{name}` cannot be used: {error.what}"
    plain = Redactor()
    if any(redactor.redact_text(text) != plain.redact_text(text) for text in _ORDINARY):
        return f"pattern `{name}` is over-broad: it matches ordinary text"
    return None


CHECKS = (
    CrossCheck(("checkout",), _checkout),
    CrossCheck(("logs",), _logs),
)

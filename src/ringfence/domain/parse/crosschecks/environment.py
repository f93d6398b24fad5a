"""Variables inside sandboxes: none that steers a loader, none that holds a credential."""

import re
from collections.abc import Iterator, Mapping

from ringfence.domain.parse.problem import Finding, Steps

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OWN = frozenset(("HOME", "PATH", "USER", "LOGNAME", "SHELL", "TMPDIR", "PWD"))
#: These change what a command *is* before its first instruction, so the declared words would no longer say it.
_STEERING = (
    "BASHOPTS", "BASH_ENV", "EDITOR", "ENV", "IFS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "NODE_OPTIONS", "PAGER",
    "PERL5OPT", "PROMPT_COMMAND", "PS4", "PYTHONHOME", "PYTHONINSPECT", "PYTHONSTARTUP", "RUBYOPT", "SHELLOPTS",
    "VISUAL", "_JAVA_OPTIONS",
)  # fmt: skip
_STEERING_PREFIXES = ("LD_", "DYLD_", "GIT_", "SSH_", "BASH_FUNC_", "RINGFENCE_")
_AUTHORITIES = frozenset((
    "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "PIP_CERT", "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR", "SSL_CERT_FILE",
))  # fmt: skip
_CREDENTIAL = re.compile(
    r"(?:.*_)?(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|API_KEY|ACCESS_KEY|ACCESS_KEY_ID|PRIVATE_KEY"
    r"|SECRET_KEY|CREDENTIALS?|DATABASE_URL|DSN|CONNECTION_STRING)"
)


def variables(environment: Mapping[str, str], steps: Steps) -> Iterator[Finding]:
    """What is wrong with the further variables of a repository."""
    for name, value in environment.items():
        fault = _fault(name.upper(), name)
        if fault:
            yield Finding((*steps, name), fault[0], fault[1], at_key=True)
        if "\0" in value or len(value) > 4096:
            yield Finding((*steps, name), f"the value of {name!a} is too long", "a variable is one short text")


def _fault(folded: str, name: str) -> tuple[str, str] | None:
    if not _NAME.fullmatch(name):
        return f"{name!a} is no name of a variable", "use letters, digits and _"
    if folded in _OWN:
        return f"{name} is set by the worker", "remove it; `path` makes PATH, and the home of a sandbox is empty"
    if folded.endswith("_PROXY"):
        return f"{name} says where to connect, and that is set by the worker", "write rules under `network` instead"
    if folded in _AUTHORITIES:
        return f"{name} says whom to trust, and that is set by the worker", "settings name the bundle of certificates"
    if folded in _STEERING or folded.startswith(_STEERING_PREFIXES):
        return f"{name} steers what loads before a command runs", "put what it does into the command's own words"
    if _CREDENTIAL.fullmatch(folded):
        what = f"{name} is the name of a credential, and no secret ever enters a sandbox"
        return (
            what,
            "let the check do without it; what needs production-like credentials is no check for an agent's patch",
        )
    return None

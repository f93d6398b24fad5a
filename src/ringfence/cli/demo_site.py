"""The surroundings of a demo: a directory made anew, a code host of its own, serving, and a worker's settings."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringfence.domain.errors import ControlMissing, HostFailed, InputError
from ringfence.pipeline.rooms import remove_tree
from ringfence.web.host.creation import NewPrincipal, create_host, create_principal, create_repository, keep_token
from ringfence.web.host.git.policy import RepositoryPolicy
from ringfence.web.host.principals import Permission

_MARKER = ".ringfence-demo"
_KEPT = ("toolchain", "local-model", _MARKER)


@dataclass(frozen=True, slots=True)
class Sample:
    """What stands in a demo's directory beside tickets and boundary; repository `demo/x` is made of directory `x`."""

    ticket: str  # the one to carry
    written: tuple[str, ...]  # repositories that runs change
    read: tuple[str, ...] = ()  # repositories beside them
    protected: tuple[str, ...] = ()  # paths that the code host protects too
    settings: str = ""  # further sections of the worker's settings
    label: str = ""  # what is said of the model, where it is no recording
    registry: str = ""  # what is said of the package registry that set-up may reach


@contextmanager
def site(root: Path, furnishing: AbstractContextManager[Sample]) -> Iterator[tuple[str, Sample]]:
    """The demo's directory, made anew and furnished, and its code host, serving; the host's address."""
    _require_ours(root)
    root.mkdir(parents=True, exist_ok=True)
    with (root / _MARKER).open("a") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("a demo is running here", where=str(root), mend="end it, or use --directory") from None
        _clear(root)
        with furnishing as sample:
            _make_host(root, sample)
            with _host(root / "host") as address:
                _settle(root, address, sample)
                yield address, sample


def packages(
    target: Path, wanted: str, what: str, *, options: tuple[str, ...] = (), copies: Mapping[str, str] | None = None
) -> Path:
    """A virtual environment with hash-pinned requirements, made once; `what` names it for people.

    `copies`: further requirements whose files are kept uninstalled in a directory of that name in it, for hosts
    whose sandboxes can reach no registry; the requirements stand beside the environment as `<name>.txt`.
    """
    import hashlib

    stamp, digest = (
        target / ".complete",
        hashlib.sha256("".join((wanted, *(copies or {}).values())).encode()).hexdigest(),
    )
    if stamp.exists() and stamp.read_text() == digest:
        return target
    print(f"preparing {what} from the package index …", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    listed = target.parent / "requirements.txt"
    listed.write_text(wanted)
    pip = [str(target / "bin" / "python3"), "-m", "pip"]
    pinned = ["-q", "--disable-pip-version-check", "--no-input", "--require-hashes", *options, "-r"]
    # The system's interpreter, because that is the one that a sandbox sees below /usr.
    commands = [["/usr/bin/python3", "-m", "venv", "--clear", str(target)], [*pip, "install", *pinned, str(listed)]]
    for name, requirements in (copies or {}).items():
        kept = target.parent / f"{name}.txt"
        kept.write_text(requirements)
        commands.append([*pip, "download", *pinned, str(kept), "--only-binary", ":all:", "-d", str(target / name)])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ControlMissing(
                f"{what} could not be installed",
                where=(done.stderr or done.stdout)[-800:].strip(),
                mend="see that `pip download pytest` works here, and that python3-venv is installed",
            )
    stamp.write_text(digest)
    return target


def _require_ours(root: Path) -> None:
    if root.exists() and any(root.iterdir()) and not (root / _MARKER).exists():
        raise InputError("this directory is not empty and not a demo's", where=str(root), mend="use --directory")


def _clear(root: Path) -> None:
    for path in root.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _make_host(root: Path, sample: Sample) -> None:
    """The code host with its repositories."""
    create_host(root / "host")
    policy = RepositoryPolicy(prefix="ringfence/", protected_paths=sample.protected)
    for name in sample.written:
        create_repository(root / "host", name, policy=policy, from_directory=_source(root, name))
    for name in sample.read:
        create_repository(root / "host", name, from_directory=_source(root, name))


def _source(root: Path, name: str) -> Path:
    return root / name.rpartition("/")[2]


def _settle(root: Path, address: str, sample: Sample) -> None:
    """Write the worker's one durable credential, and settings."""
    read, write = Permission(), Permission(write_prefix="ringfence/")
    beside = dict.fromkeys(sample.read, read)
    kim = NewPrincipal("kim", "human", {**dict.fromkeys(sample.written, Permission(review=True)), **beside})
    minter = NewPrincipal("ringfence", "minter", {**dict.fromkeys(sample.written, write), **beside})
    create_principal(root / "host", kim)  # she logs in by a link; her token is kept nowhere
    (root / "secrets").mkdir(mode=0o700)
    keep_token(root / "secrets" / "host-mint", create_principal(root / "host", minter))
    (root / "ringfence.toml").write_text(
        f"""[worker]
state = "state"
boundary = "boundary.yaml"

[tracker]
kind = "folder"
path = "tickets"

[code_host]
kind = "local"
url = "{address}"

[secrets.host-mint]
file = "secrets/host-mint"
{sample.settings}"""
    )


@contextmanager
def _host(root: Path) -> Iterator[str]:
    """The code host as a process of its own; its address."""
    with serving([sys.executable, "-m", "ringfence.web.host", str(root)]) as address:
        if not address:
            raise HostFailed("the code host did not start", where=str(root), mend="`ringfence host serve` says why")
        yield address


@contextmanager
def serving(command: list[str]) -> Iterator[str]:
    """A server that prints its address on its first line; it dies with the demo, however the demo ends."""
    argv = ["setpriv", "--pdeathsig", "TERM", *command]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            yield running.stdout.readline().strip() if running.stdout else ""
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()

"""No value of any grant is anywhere but where it is used: not during a run, not after it (ATTACKS D, F01, F09).

Tokens are minted while the run goes on, so they are looked for by their form, plain and in base64 at any place.
"""

import base64
import json
import os
import re
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ringfence.domain import events as e
from ringfence.web.host.creation import NewPrincipal, create_principal
from ringfence.web.host.principals import Permission
from worksite import BRANCH, REPOSITORY, TICKET, Worksite

#: What an agent would look at: its environment, every process it sees, git's configuration, files of the worker.
LOOK = """
{ env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; git config --list --show-origin; cat .git/config
  ls -la / /root /home /tmp /run; find / -xdev -name 'host-mint' -o -xdev -name 'secrets' -o -xdev -name '*.sqlite'
  cat {state}/audit.sqlite {secret}; } > seen.txt 2>&1
echo 2 > value.txt
"""


#: Three hex digits in base64: what each of its four characters can be.
_1, _2, _3, _4 = b"[MNOYZ]", b"[DTjzGWm2]", b"[ABEFIJMNQRUVYZcdghkl]", b"[h-mw-z0-5]"
_DIGITS = b"(?:" + _1 + _2 + _3 + _4 + b"){4}"
#: A token of the host, durable (rfh_) or minted (rfm_): plain, and in base64 at each of its three places.
TOKEN = re.compile(
    b"|".join(
        (
            b"rf[hm]_[0-9a-f]{16}",
            b"cmZ[to]X[z2]" + _3 + _4 + _DIGITS,
            b"Jm(?:bV|aF)[89]" + _4 + _DIGITS,
            b"yZm[1h]f" + _DIGITS,
        )
    )
)


@pytest.mark.parametrize("kind", ["rfh_", "rfm_"])
def test_what_is_looked_for_is_found_in_every_form(kind: str) -> None:
    for _ in range(50):
        token = kind + os.urandom(32).hex()
        for before in ("", "a", "ab", "abc", "password=", "x-access-token:"):
            for after in ("", "\n", "0", "x"):
                text = f"{before}{token}{after}".encode()
                assert TOKEN.search(text) and TOKEN.search(base64.b64encode(text)), text


def descendants(root: int) -> Iterator[int]:
    """The processes below one, itself first."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        parents.setdefault(int(rest[1]), []).append(int(path.parent.name))
    found = [root]
    for process in found:
        found += parents.get(process, [])
    yield from found


def shown_by(process: int) -> bytes:
    """What anybody who may look at a process sees of it."""
    seen = b""
    for name in ("cmdline", "environ"):
        try:
            seen += Path(f"/proc/{process}/{name}").read_bytes()
        except OSError:
            continue
    return seen


def kept(site: Worksite) -> Iterator[tuple[str, bytes]]:
    """What is on disk now, while it changes."""
    # os.walk passes over directories that go meanwhile; Path.rglob does not.
    for top in (site.state, site.server.root):
        for directory, _, names in os.walk(top):
            for path in (Path(directory, name) for name in names if name != "evidence.pem"):
                try:
                    if path.is_file():
                        yield str(path), path.read_bytes()
                except OSError:
                    continue


def tokens_of(site: Worksite) -> list[tuple[str, bool]]:
    """The minted tokens that the host keeps: reference, and whether it is taken."""
    database = sqlite3.connect(f"file:{site.server.root / 'records.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT reference, revoked IS NULL AND expires > ? FROM tokens", (time.time(),))
        return [(reference, bool(lives)) for reference, lives in rows.fetchall()]
    finally:
        database.close()


def test_no_value_of_a_grant_is_anywhere_during_and_after_a_run(site: Worksite) -> None:
    look = LOOK.replace("{state}", str(site.state)).replace("{secret}", str(site.root / "secrets" / "mint"))
    site.story(look)
    worker = site.start("run", TICKET)
    samples, names, looked = 0, set(), 0.0
    while worker.poll() is None:
        for process in descendants(worker.pid):
            seen = shown_by(process)
            assert not TOKEN.search(seen), seen[:400]
            names.add(seen.split(b"\0", 1)[0])
            samples += 1
        if time.monotonic() - looked > 0.4:
            looked = time.monotonic()
            assert [path for path, content in kept(site) if TOKEN.search(content)] == []
    assert worker.returncode == 0, (site.root / "commands.log").read_text()[-3000:]
    assert samples > 100 and any(b"git" in name for name in names), "the looks fell into the run"

    assert [path for path, content in site.kept() if TOKEN.search(content)] == []
    assert not TOKEN.search((site.root / "commands.log").read_bytes())
    seen = site.git("show", f"{BRANCH}:seen.txt")
    assert "PATH=" in seen and not TOKEN.search(seen.encode()), "the agent looked, and there was nothing"
    reviewer = create_principal(site.server.root, NewPrincipal("kim", "human", {REPOSITORY: Permission(review=True)}))
    with httpx2.Client(headers={"Authorization": f"Bearer {reviewer}"}, trust_env=False, verify=False) as client:
        pull = client.get(f"{site.server.url}/repos/{REPOSITORY}/pulls/1")
    assert "Make it 2" in pull.text or pull.json()["body"]
    assert not TOKEN.search(pull.content)
    with tarfile.open(site.state / "bundles" / f"{TICKET}-r1.bundle.tar") as bundle:
        for member in bundle.getmembers():
            content = bundle.extractfile(member)
            assert content is None or not TOKEN.search(content.read()), member.name


def test_what_the_boundary_redacts_is_in_no_record_whoever_says_it(site: Worksite) -> None:
    """An agent is started with it and says it: neither the log, nor a content that is kept, nor the bundle has it."""
    word = "canary-7f3a9c51e2d84b60aa"
    pattern = {"name": "canary", "pattern": "canary-[0-9a-f]{18}"}
    site.boundary({"logs.redaction.patterns": [pattern], "commands.agents": [{"name": "command"}]})
    command = ["sh", "-c", f"echo 2 > value.txt; echo I found {word}"]
    own = f'[agent]\nname = "command"\ncommand = {json.dumps(command)}\n'
    site.settings_path.write_text(site.settings_path.read_text() + own)
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request"), view.detail
    (ran,) = [event for event in site.events(view.id) if isinstance(event, e.CommandRan) and event.role == "agent"]
    assert any("I found " in part for part in ran.argv), "it was started with it"
    assert [path for path, content in site.kept() if word.encode() in content] == []


def test_every_grant_of_a_run_is_narrow_and_confirmed_dead_at_its_end(site: Worksite) -> None:
    code, view = site.run()
    assert code == 0
    events = site.events(view.id)
    minted = {event.grant: event for event in events if isinstance(event, e.GrantMinted)}
    revoked = {event.grant: event for event in events if isinstance(event, e.GrantRevoked)}
    assert {(event.purpose, event.permissions) for event in minted.values()} == {
        ("checkout", "read"),
        ("publish", f"write:{BRANCH}"),
    }
    assert {event.grant for event in events if isinstance(event, e.GrantAsked)} == set(minted) == set(revoked)
    assert all(event.confirmed and event.uses for event in revoked.values())
    assert sorted(tokens_of(site)) == sorted((grant, False) for grant in minted)
    order = [type(event).__name__ for event in events]
    publish = next(event for event in events if isinstance(event, e.GrantAsked) and event.purpose == "publish")
    assert events.index(publish) > order.index("EvidenceSealed"), "the write grant is asked for after validation"


def test_no_token_lives_while_the_agent_works(site: Worksite) -> None:
    site.story("sleep 300")
    running = site.start("run", TICKET)
    site.until_at_work(running)
    assert tokens_of(site) and not any(lives for _, lives in tokens_of(site))
    assert site.ringfence("cancel", f"{TICKET}-r1").returncode == 0
    assert running.wait(60) == 6
    assert not any(lives for _, lives in tokens_of(site))


def test_a_worker_killed_with_a_grant_has_it_revoked_when_the_run_is_taken_up_again(site: Worksite) -> None:
    """Killed as soon as the host has minted, whatever the log has got to know of it."""
    killed_with: list[str] = []
    for wanted in ("checkout", "publish"):
        worker = site.start("run", TICKET)
        while worker.poll() is None:
            alive = [reference for reference, lives in tokens_of(site) if lives and reference.startswith(wanted)]
            if alive:
                worker.kill()
                killed_with += alive
                break
        worker.wait()
    assert len(killed_with) == 2, "both workers were killed with a grant"
    assert dict(tokens_of(site))[killed_with[1]], "it lives until the run is taken up again"
    code, view = site.run()
    assert (code, view.outcome) == (0, "pull_request")
    assert not any(lives for _, lives in tokens_of(site))
    revoked = {event.grant: event.confirmed for event in site.events(view.id) if isinstance(event, e.GrantRevoked)}
    assert {grant: revoked.get(grant) for grant in killed_with} == dict.fromkeys(killed_with, True)


def test_the_environment_of_the_worker_reaches_nothing_it_starts(site: Worksite) -> None:
    """A credential that is kept in the worker's environment is seen in no other process."""
    token = (site.root / "secrets" / "mint").read_text()
    settings = site.settings_path.read_text()
    site.settings_path.write_text(settings.replace('file = "secrets/mint"', 'env = "RINGFENCE_TEST_MINT"'))
    site.story("env > seen.txt; cat /proc/*/environ >> seen.txt; echo 2 > value.txt")
    # Python's `platform` starts `file`, and a library asks it while it is imported: an ordinary program that inherits.
    tools = site.root / "tools"
    tools.mkdir()
    (tools / "file").write_text(f"#!/bin/sh\ncat /proc/self/environ >> {site.root}/inherited\n")
    (tools / "file").chmod(0o755)
    before = dict(os.environ)
    os.environ.update(RINGFENCE_TEST_MINT=token, PATH=f"{tools}:{before['PATH']}")
    try:
        worker = site.start("run", TICKET)
    finally:
        del os.environ["RINGFENCE_TEST_MINT"]
        os.environ["PATH"] = before["PATH"]
    others, itself = 0, "\0".join(site.command("run", TICKET)).encode()
    while worker.poll() is None:
        for process in descendants(worker.pid):
            seen = shown_by(process)
            # The worker, or a child that has not become another program yet: it still shows the worker's own.
            if process == worker.pid or seen.startswith(itself):
                continue
            others += 1
            assert token.encode() not in seen, seen[:300]
    assert worker.returncode == 0, (site.root / "commands.log").read_text()[-3000:]
    assert others > 50
    inherited = site.root / "inherited"
    assert token.encode() not in (inherited.read_bytes() if inherited.exists() else b"")
    assert token not in site.git("show", f"{BRANCH}:seen.txt")
    assert [path for path, content in site.kept() if token.encode() in content] == []

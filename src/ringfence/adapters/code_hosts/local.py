"""The local code host over its REST API, which has the shapes of GitHub's.

A grant's secret is opened in one place, for the Authorization header; addresses, errors and logs never
hold it. Nothing is retried here: a stage that is run again looks first and adopts what is there.
"""

import re
import unicodedata
from typing import Any
from urllib.parse import quote

from ringfence.adapters.json_http import Answer, JsonClient
from ringfence.domain.errors import HostFailed
from ringfence.ports.broker import Grant
from ringfence.ports.code_host import Proposal, PullRequest

_DESCRIPTION_LIMIT = 140
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MENDS = {
    401: "the token is not known or has expired: make a principal and store its token again",
    403: "the grant's principal may not do this: see `ringfence host add-principal`",
    404: "look at the repository's name, and whether the grant's principal may read it",
    405: "see what stands against it on the review page",
    409: "someone else changed it meanwhile: run again",
    413: "the text is too long for the host",
    422: "the host does not take these values: see its message",
}


class LocalCodeHost:
    """The code host that comes with Ringfence; implements ports/code_host.py. `timeout` is in seconds."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self._url = url.rstrip("/")
        mend = "see that it runs (`ringfence host serve`) and that the settings name its address"
        self._client = JsonClient(url, whose="the code host", mend=mend, timeout=timeout)

    def git_url(self, repository: str) -> str:
        """The URL that git fetches from and pushes to; it never holds a credential."""
        return f"{self._url}/{_checked(repository)}.git"

    def find_pull_request(self, grant: Grant, repository: str, branch: str) -> PullRequest | None:
        """The newest pull request from that branch, in whatever state."""
        return self._newest(grant, repository, branch, state="all")

    def open_pull_request(self, grant: Grant, repository: str, proposal: Proposal) -> tuple[PullRequest, bool]:
        """Open one, or adopt the open one that is there; True when it was created."""
        present = self._newest(grant, repository, proposal.branch, state="open")
        if present is not None:
            return present, False
        body = {
            "title": proposal.title,
            "head": proposal.branch,
            "base": proposal.base,
            "body": proposal.body,
            "draft": proposal.draft,
        }
        answer = self._send(grant, "POST", f"/repos/{_checked(repository)}/pulls", json=body)
        if answer.status == 201:
            return _pull_request(answer.content), True
        if answer.status == 422:  # someone else was quicker, or an earlier answer was lost
            present = self._newest(grant, repository, proposal.branch, state="open")
            if present is not None:
                return present, False
        raise self._failure(answer, f"open a pull request in {repository}")

    def update_pull_request(self, grant: Grant, repository: str, number: int, proposal: Proposal) -> PullRequest:
        """Set title and body of an open pull request."""
        body = {"title": proposal.title, "body": proposal.body}
        answer = self._send(grant, "PATCH", f"/repos/{_checked(repository)}/pulls/{number:d}", json=body)
        if answer.status != 200:
            raise self._failure(answer, f"update pull request {number} of {repository}")
        return _pull_request(answer.content)

    def report_checks(
        self, grant: Grant, repository: str, commit: str, checks: tuple[tuple[str, bool, str], ...]
    ) -> None:
        """Attach (name, passed, description) statuses to a commit; repeating it changes nothing."""
        if not _COMMIT.fullmatch(commit):
            raise HostFailed(f"{commit[:60]!a} is no commit id", mend="report checks of a full commit id")
        path = f"/repos/{_checked(repository)}"
        answer = self._send(grant, "GET", f"{path}/commits/{commit}/status")
        if answer.status != 200:
            raise self._failure(answer, f"read the statuses of {repository}")
        present = {(row["context"], row["state"], row["description"]) for row in _rows(answer.content, "statuses")}
        for name, passed, description in checks:
            state, words = "success" if passed else "failure", _short(description)
            if (name, state, words) in present:
                continue
            status = {"state": state, "context": name, "description": words}
            answer = self._send(grant, "POST", f"{path}/statuses/{commit}", json=status)
            if answer.status != 201:
                raise self._failure(answer, f"report a check of {repository}")

    def _newest(self, grant: Grant, repository: str, branch: str, *, state: str) -> PullRequest | None:
        owner = _checked(repository).split("/")[0]
        query = f"state={state}&head={quote(f'{owner}:{branch}', safe='')}&sort=created&direction=desc&per_page=1"
        answer = self._send(grant, "GET", f"/repos/{repository}/pulls?{query}")
        if answer.status != 200 or not isinstance(answer.content, list):
            raise self._failure(answer, f"list the pull requests of {repository}")
        return _pull_request(answer.content[0]) if answer.content else None

    def _send(self, grant: Grant, method: str, path: str, *, json: dict[str, Any] | None = None) -> Answer:
        """One request with the grant's secret, one answer of bounded size."""
        return self._client.send(method, path, {"Authorization": f"Bearer {grant.secret.reveal()}"}, json=json)

    def _failure(self, answer: Answer, what: str) -> HostFailed:
        said = answer.content if isinstance(answer.content, dict) else {}
        details = said.get("errors") or []
        words = [
            str(said.get("message", "")),
            *(str(row.get("message", "")) for row in details if isinstance(row, dict)),
        ]
        return HostFailed(
            f"the code host would not {what} (status {answer.status}): {_short('; '.join(filter(None, words)))}",
            where=self._url,
            mend=_MENDS.get(answer.status, "see the code host's own log"),
        )


def _checked(repository: str) -> str:
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise HostFailed(f"{repository[:100]!a} is no name of a repository", mend="write it as owner/name")
    return repository


def _pull_request(row: Any) -> PullRequest:
    try:
        merged = row.get("merged_at") is not None
        return PullRequest(
            number=int(row["number"]),
            url=str(row["html_url"]),
            branch=str(row["head"]["ref"]),
            head=str(row["head"]["sha"]),
            state="merged" if merged else str(row["state"]),
            draft=bool(row["draft"]),
            title=str(row["title"]),
            body=str(row["body"] or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HostFailed(f"the code host's answer is no pull request ({type(error).__name__})") from None


def _rows(content: Any, key: str) -> list[dict[str, Any]]:
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all({"context", "state", "description"} <= set(row) for row in rows):
        raise HostFailed("the code host's answer is no list of statuses")
    return rows


def _short(text: str) -> str:
    """One printable line that fits a status."""
    seen = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in text)
    line = " ".join(seen.split())
    return line if len(line) <= _DESCRIPTION_LIMIT else line[: _DESCRIPTION_LIMIT - 1] + "…"

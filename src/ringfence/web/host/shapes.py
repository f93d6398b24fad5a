"""The host's values in the shapes of GitHub's REST API: the same names and types, where there is a value."""

from datetime import UTC, datetime
from typing import Any

from ringfence.web.host.git.repository import ChangedFile, Commit
from ringfence.web.host.principals import Kind, Principal
from ringfence.web.host.pulls import Place
from ringfence.web.host.records import Pull, Remark, Status
from ringfence.web.host.site import Site
from ringfence.web.host.standing import Standing

Shape = dict[str, Any]


def user(name: str, kind: str) -> Shape:
    """A principal."""
    return {"login": name, "type": "User" if kind == "human" else "Bot"}


def viewer(principal: Principal) -> Shape:
    """The principal that asks."""
    kind: Kind = principal.kind
    return user(principal.name, kind)


def repository(site: Site, place: Place) -> Shape:
    """A repository, with what the one who asks may do in it."""
    owner, name = place.name.split("/")
    return {
        "name": name,
        "full_name": place.name,
        "owner": {"login": owner, "type": "Organization"},
        "private": True,
        "html_url": f"{site.url}/{place.name}",
        "clone_url": f"{site.url}/{place.name}.git",
        "default_branch": place.policy.default_branch,
        "permissions": {
            "admin": False,
            "push": place.permission.write_prefix is not None,
            "pull": True,
        },
    }


def pull_request(site: Site, pull: Pull, standing: Standing | None = None, head: str = "") -> Shape:
    """A pull request; with its standing, also whether it can be merged."""
    owner = pull.repository.split("/")[0]
    sha = standing.head if standing else head or pull.head_sha
    base = standing.base if standing else pull.base_sha
    found: Shape = {
        "id": pull.number,
        "number": pull.number,
        "url": f"{site.url}/repos/{pull.repository}/pulls/{pull.number}",
        "html_url": page(site, pull),
        "diff_url": f"{page(site, pull)}.diff",
        "state": "open" if pull.state == "open" else "closed",
        "draft": bool(pull.draft),
        "title": pull.title,
        "body": pull.body,
        "user": user(pull.author, pull.author_kind),
        "head": {"label": f"{owner}:{pull.head}", "ref": pull.head, "sha": sha},
        "base": {"label": f"{owner}:{pull.base}", "ref": pull.base, "sha": base},
        "created_at": when(pull.created),
        "updated_at": when(pull.updated),
        "closed_at": when(pull.closed) if pull.closed is not None else None,
        "merged_at": when(pull.closed) if pull.state == "merged" and pull.closed is not None else None,
        "merge_commit_sha": pull.merge_commit,
    }
    if standing is not None:
        found["merged"] = pull.state == "merged"
        found["mergeable"] = standing.tree is not None if pull.state == "open" else None
        found["mergeable_state"] = "clean" if not standing.blockers else "blocked"
    return found


def page(site: Site, pull: Pull) -> str:
    """The address of the review page."""
    return f"{site.url}/{pull.repository}/pull/{pull.number}"


def commit(found: Commit) -> Shape:
    """A commit."""
    who = {"name": found.author, "email": found.email, "date": when(found.when)}
    return {
        "sha": found.sha,
        "commit": {"message": found.message, "author": who},
        "parents": [{"sha": parent} for parent in found.parents],
    }


def changed_file(found: ChangedFile) -> Shape:
    """A changed path."""
    status = {"A": "added", "D": "removed", "R": "renamed", "C": "copied", "M": "modified"}.get(found.status, "changed")
    added, removed = found.added or 0, found.removed or 0
    shape: Shape = {
        "sha": found.blob,
        "filename": found.path,
        "status": status,
        "additions": added,
        "deletions": removed,
        "changes": added + removed,
    }
    if found.before is not None:
        shape["previous_filename"] = found.before
    return shape


def comment(site: Site, pull: Pull, remark: Remark) -> Shape:
    """A comment."""
    return {
        "id": remark.id,
        "user": user(remark.author, remark.author_kind),
        "body": remark.body,
        "html_url": f"{page(site, pull)}#remark-{remark.id}",
        "created_at": when(remark.created),
        "updated_at": when(remark.created),
    }


def review(site: Site, pull: Pull, remark: Remark) -> Shape:
    """A review."""
    return {
        "id": remark.id,
        "user": user(remark.author, remark.author_kind),
        "body": remark.body,
        "state": remark.kind,
        "html_url": f"{page(site, pull)}#remark-{remark.id}",
        "submitted_at": when(remark.created),
        "commit_id": remark.sha,
    }


def status(found: Status) -> Shape:
    """A status of a commit, as it stands among others."""
    return {
        "id": found.id,
        "state": found.state,
        "context": found.context,
        "description": found.description,
        "target_url": found.target_url,
        "created_at": when(found.created),
        "updated_at": when(found.created),
    }


def full_status(found: Status) -> Shape:
    """A status of a commit, with who reported it."""
    return {**status(found), "creator": user(found.creator, "worker")}


def when(seconds: float) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

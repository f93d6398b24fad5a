"""The worker's commit: its message, and the trailers that tie it to a run, a ticket and a boundary.

The evidence names the commit, so the commit cannot name the evidence.
"""

from ringfence.domain.inert import title_words
from ringfence.domain.ticket import Ticket

RUN = "Ringfence-Run"
TICKET = "Ringfence-Ticket"
BOUNDARY = "Ringfence-Boundary"


def message(ticket: Ticket, run: str, boundary: str) -> str:
    """The message of a candidate commit. The title is untrusted: shortened, and words that start nothing at a host."""
    return f"{title_words(ticket.title) or 'Change'}\n\n{TICKET}: {ticket.id}\n{RUN}: {run}\n{BOUNDARY}: {boundary}\n"


def parents_and_tree(raw: bytes) -> tuple[tuple[str, ...], str]:
    """The parents and the tree that a raw commit object names."""
    header = raw.partition(b"\n\n")[0].decode("utf-8", "replace").splitlines()
    fields = [line.partition(" ") for line in header]
    parents = tuple(value for key, _, value in fields if key == "parent")
    return parents, next((value for key, _, value in fields if key == "tree"), "")


def trailers(raw: bytes) -> dict[str, str]:
    """The trailers in the last paragraph of a raw commit object."""
    body = raw.partition(b"\n\n")[2].decode("utf-8", "replace").rstrip("\n")
    rows = [line.partition(": ") for line in body.split("\n\n")[-1].splitlines()]
    return {key: value for key, found, value in rows if found}

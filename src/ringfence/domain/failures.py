"""The failures of a model provider by name, as the boundary lists them and the gateway meets them."""

from typing import Literal

#: What a provider can do to a request before the first byte of its answer: no connection, status 429, status 5xx,
#: nothing in time.
Failure = Literal["unreachable", "busy", "failed", "timeout"]

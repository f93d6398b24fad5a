"""Reads a boundary document: `parse` gives a `Boundary` or every `Problem`, `digest` names the exact bytes."""

from ringfence.domain.parse.document import digest, parse
from ringfence.domain.parse.problem import Problem

__all__ = ["Problem", "digest", "parse"]

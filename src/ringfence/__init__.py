"""Ringfence: a self-hosted worker that turns approved tickets into pull requests inside a written boundary.

Importing the package does nothing; the way of a run begins in `ringfence.pipeline.run`.
"""

__version__ = "0.1.0"

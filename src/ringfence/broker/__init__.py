"""Credential enforcement: which grant for which purpose, and for how long."""

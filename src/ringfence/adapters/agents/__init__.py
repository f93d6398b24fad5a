"""Agents that do the work, each a program inside the sandbox."""

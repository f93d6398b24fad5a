"""Pinned versions and digests of agents: lock files of npm and hash-pinned requirements of pip, one folder an agent."""

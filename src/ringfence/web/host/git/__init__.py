"""Git on the host's side: what may be pushed, the hook that decides it, and reading what was."""

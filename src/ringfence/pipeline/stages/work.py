"""Work: the agent changes a checkout inside a sandbox."""

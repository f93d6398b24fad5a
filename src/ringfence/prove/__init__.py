"""Prove: this boundary is attacked on this host, from inside real sandboxes, and what must work is shown to work."""

"""Where untrusted code executes."""

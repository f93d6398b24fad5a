"""Code hosts that mint short-lived tokens."""

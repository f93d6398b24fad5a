"""Where the operator keeps secrets."""

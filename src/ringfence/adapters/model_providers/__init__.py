"""Where models answer, seen from the gateway."""

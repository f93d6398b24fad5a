"""What the worker asks of the world: one Protocol a file."""

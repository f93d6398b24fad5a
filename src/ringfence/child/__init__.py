"""What processes of their own beside the worker share: supervision, the control channel, doors, confinement."""

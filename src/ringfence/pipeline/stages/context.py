"""Context: the brief, without any model."""

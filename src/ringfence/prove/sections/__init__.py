"""The claims of a boundary, a module for each of its sections."""

"""Where repositories and pull requests live."""

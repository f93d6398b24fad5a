"""The wire protocols that agents speak: one module each, all of one shape (shape.py), listed in table.py."""

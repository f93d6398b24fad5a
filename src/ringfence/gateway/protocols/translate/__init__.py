"""Translation between protocols, where the boundary says so: a module for each pair's requests, readers, writers.

`wire.py` makes of it a protocol like the others (shape.py): an agent speaks one, its provider is asked in another.
What cannot be carried over is a ValueError that says which field; it becomes a refusal, or a fault of the answer.
"""

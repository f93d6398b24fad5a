"""The operator's settings: where things are. The only module that reads the environment.

What may happen stands in the boundary, never here: no setting widens it.
"""

"""The way of a run: run.py is its table of contents."""

"""One file a stage; stages meet only in pipeline/run.py."""

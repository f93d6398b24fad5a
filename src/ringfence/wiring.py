"""The composition root: the only module that knows ports and adapters."""

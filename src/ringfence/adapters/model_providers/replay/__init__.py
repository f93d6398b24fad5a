"""Plays a recorded script as if it were a provider, in whichever protocol it is asked. docs/replay.md describes it."""

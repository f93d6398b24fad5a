"""Agents that others wrote, run as they are: a table of entries, and what installs, starts and reads them."""

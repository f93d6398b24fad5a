"""One file an agent: how it is started, how its event stream is read, and what of a repository it would obey."""

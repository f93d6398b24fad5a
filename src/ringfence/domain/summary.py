"""Pull request text from events: no free text from tools or models goes in unfenced."""

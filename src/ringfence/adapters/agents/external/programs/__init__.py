"""Programs of ours that start an agent inside the sandbox; their bytes go in, and nothing here imports them."""

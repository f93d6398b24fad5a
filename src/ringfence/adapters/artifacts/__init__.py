"""Where blobs are kept, by digest."""

"""Google Vertex AI: its provider, and how it gets its access tokens."""

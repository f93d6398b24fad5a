"""What makes a run durable."""

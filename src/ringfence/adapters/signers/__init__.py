"""Who signs the evidence."""

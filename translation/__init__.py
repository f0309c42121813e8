"""Text in, text out: translation knows nothing of labels."""

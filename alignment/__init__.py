"""Two token sequences in, links out."""

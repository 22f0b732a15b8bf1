"""The weights a trial begins with: drawn from its seed, read from a file, or kept for a resume."""

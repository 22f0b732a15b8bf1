"""What a launch would do and cost, without doing it. `plan` first; the rest are its numbers."""

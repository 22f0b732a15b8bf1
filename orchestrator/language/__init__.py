"""The sweep language: YAML text with positions, its sections and fields, and their expansion."""

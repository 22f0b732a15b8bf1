"""The folder that holds everything: its records, who owns what in it, failures, and garbage."""

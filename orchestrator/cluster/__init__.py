"""Launches as jobs on a Ray cluster: submission, and commands that are relayed."""

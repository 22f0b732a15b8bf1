"""The command line: the only package that prints or exits. A module for each group of verbs."""

from orchestrator.cli.app import main

__all__ = ["main"]

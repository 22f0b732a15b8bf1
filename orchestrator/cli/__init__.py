"""The command line: the only package that prints or exits.

`app` runs a verb and turns errors into lines; `commands/` has a module for each verb.
"""

from orchestrator.cli.app import main

__all__ = ["main"]

"""What `python -m trainer` can be asked to do: a module for each command."""

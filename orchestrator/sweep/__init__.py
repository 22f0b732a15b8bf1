"""From a sweep file to its trials, and every problem with its line.

`sweep_spec` first: it reads through `yaml_text` and `sweep_file`, and `expand` makes the trials.
"""

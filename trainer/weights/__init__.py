"""The network that a trial begins with. `initial` first: drawn, read from a file, or not ours.

`initial_copy` gives a resume the same weights again.
"""

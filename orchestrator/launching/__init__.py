"""A launch: rounds of missing trials, through Ray or in this process, until all are at rest.

`driver` first: it asks `rounds` what runs next and gives that to a launcher; `worker` is what
happens to it there, in the process that trains.
"""

"""The folder that holds everything. `store` first: it says what is there, `folder` where it lies.

`ownership` decides who may run a trial, by what `liveness` says of whoever has it, and `failures`
what follows from how it ended.
"""

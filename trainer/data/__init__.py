"""Images as a trial meets them. `splits` first: it gives a trial its batches.

`augment` decides order, crops and flips of each epoch; the others read the data sets.
"""

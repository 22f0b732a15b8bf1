"""Finished trials as tables, figures, verdicts and comparisons, the paper's numbers beside them.

`sweep_results` reads a sweep once, `report` makes the page of it and `to_mlflow` sends that;
`replicates` decides which results may be averaged. `compare` sets configurations side by side, and
`frames` gives the results to a notebook.
"""

"""The mirror in MLflow: the forwarder, what a run should show, the trackers, `audit` and `ui`."""

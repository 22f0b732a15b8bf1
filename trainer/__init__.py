"""Trains one pack of trials; knows nothing of sweeps, Ray, MLflow or the command line."""

PROJECT = "bnsweep"
"""Marks the package as ours: PyPI has another of this name (see orchestrator/doctor.py)."""

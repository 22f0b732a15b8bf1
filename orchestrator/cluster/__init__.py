"""`--cluster`: sweeps and commands as jobs on a Ray cluster, and the relay of their output."""

"""Prints what the image needs besides torch: bnsweep's dependencies and the servers' extras."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
needed = project["dependencies"] + project["optional-dependencies"]["postgres"]
sys.stdout.write("\n".join([*needed, "mlflow[auth]", ""]))

"""The commands that docs/clusters.md has for lab machines, typed on hosts of their own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import hosts
import pytest
from hosts import Host, Network, wait_until

from orchestrator.store import liveness
from orchestrator.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SECTION = (ROOT / "docs/clusters.md").read_text().partition("## Three lab machines")[2]
COMMANDS = re.search(r"```sh\n(.*?)```", SECTION, re.S)[1].splitlines()
SWEEP = """\
name: depth
recipe: digits
base: {depth: 8, epochs: 6, train_subset: 512}
axes: {trainable: [all, bn_only]}
resources: {cpus: 1}
"""

pytestmark = pytest.mark.timeout(600)


class Lab:
    """The machines, and the folder that they share."""

    def __init__(self) -> None:
        self.network = Network({})
        self.shared = self.network.folder / "shared"
        self.machines: dict[str, Host] = {}

    def in_terminal(self, beginning: str, more: str = "") -> tuple[str, str, str]:
        """The document's only command that begins so, after its exports; names and paths are ours.

        `more`: added to the command.
        """
        (line,) = (line for line in COMMANDS if line.startswith(beginning))
        exports = [line for line in COMMANDS if line.startswith("export ")]
        checkout = f"{self.shared}/bnsweep"
        text = "\n".join([f"cd {checkout}", *exports, line.partition("  #")[0] + more])
        text = text.replace(" /shared", f" {self.shared}").replace("=/shared", f"={self.shared}")
        text = text.replace(f"{checkout}/.venv/bin", str(BIN)).replace(".venv/bin", str(BIN))
        return "bash", "-ec", text.replace("lab1:", f"{self.machines['lab1'].address}:")


@pytest.fixture
def lab():
    if reason := hosts.why_not():
        pytest.skip(reason)
    lab = Lab()
    try:
        yield lab
    finally:
        lab.network.close()


def _wait_for_nodes(host: Host, doctor: tuple[str, ...], count: int) -> None:
    said = []

    def ready() -> bool:
        said.append(host.type(*doctor))
        return f": {count} nodes" in said[-1].stdout

    try:
        wait_until(ready, 120, f"{count} machines")
    except AssertionError as error:
        raise AssertionError(f"{error}: {said[-1].stdout}{said[-1].stderr}") from error


def test_the_documented_commands_make_a_cluster_that_trains(lab):
    (lab.shared / "bnsweep/sweeps").mkdir(parents=True)
    (lab.shared / "bnsweep/sweeps/depth.yaml").write_text(SWEEP)
    lab.machines = {name: lab.network.host(name) for name in ("lab1", "lab2")}
    lab1, lab2 = lab.machines.values()
    (lab.shared / "bnsweep/token").touch()  # the exports read it
    made = lab1.type(*lab.in_terminal(".venv/bin/ray get-auth-token"))
    assert made.returncode == 0, made.stderr

    # These hosts have no names that resolve, and one folder of temporary files among them.
    small = " --num-cpus=1 --object-store-memory=80000000 --node-ip-address={}"
    lab1.start(lab.in_terminal("mlflow server"))
    place = small.format(lab1.address) + f" --temp-dir={lab.network.scratch}"
    *shell, typed = lab.in_terminal("ray start --head", place)
    # By its full path, from an environment that is on no PATH: jobs find its Python all the same.
    lab1.start([*shell, typed.replace("\nray ", f"\nPATH=/usr/bin:/bin {BIN}/ray ")])
    doctor = lab.in_terminal("bnsweep doctor", " --json")
    _wait_for_nodes(lab1, doctor, 1)
    assert not (lab.shared / "runs").exists()  # looked at, and not yet made
    lab2.start(lab.in_terminal("ray start --address", small.format(lab2.address)))
    _wait_for_nodes(lab1, doctor, 2)

    tracker = "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health')"
    wait_until(lambda: lab1.run("-c", tracker).returncode == 0, 120, "an MLflow server")
    *shell, typed = lab.in_terminal("bnsweep launch", " -y")
    done = lab1.type(*shell, typed.replace(" --detach", ""), timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(lab.shared / "runs")
    specs = store.newest_launch("depth").specs
    assert [store.state(spec).state for spec in specs] == ["finished"] * 2
    hosts_used = {
        liveness.read_start(store.attempt_folder(spec.trial_id, 1)).host for spec in specs
    }
    assert hosts_used == {"lab1", "lab2"}
    status = lab1.type(*lab.in_terminal("bnsweep status", " --json"))
    assert '"finished": 2' in status.stdout

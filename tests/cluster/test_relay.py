"""Short commands from a laptop to a real Ray head."""

from __future__ import annotations

import json

from orchestrator.store.store import Store


def test_the_laptop_is_told_the_same_as_the_head(cluster):
    Store(cluster.store).open_for_writing()
    at_the_head = cluster.head.run("-m", "orchestrator", "status")
    relayed = cluster.bnsweep("status", "--cluster", cluster.url)
    assert relayed.returncode == at_the_head.returncode == 0, relayed.stderr
    assert (relayed.stdout, relayed.stderr) == (at_the_head.stdout, at_the_head.stderr)


def test_a_mistake_in_a_relayed_command_has_its_own_message_and_exit_code(cluster):
    relayed = cluster.bnsweep("show", "no-such-trial", "--cluster", cluster.url)
    assert relayed.returncode == 2
    assert "no-such-trial" in relayed.stderr
    assert relayed.stdout == ""


def test_json_is_alone_on_standard_output(cluster):
    at_the_head = cluster.head.run("-m", "orchestrator", "status", "--json")
    relayed = cluster.bnsweep("status", "--json", "--cluster", cluster.url)
    assert json.loads(relayed.stdout) == json.loads(at_the_head.stdout)


def test_a_head_that_is_not_there_is_one_line_and_exit_code_3(cluster):
    there = cluster.bnsweep("status", "--cluster", f"http://{cluster.laptop.address}:8265")
    assert there.returncode == 3
    assert there.stderr.count("\n") == 1
    assert "cannot be reached" in there.stderr


def test_doctor_asks_every_host(cluster):
    relayed = cluster.bnsweep("doctor", "--json", "--cluster", cluster.url)
    said = json.loads(relayed.stdout)
    nodes = [check for check in said["checks"] if check["name"] == "node"]
    assert relayed.returncode == 0, said
    assert {check["detail"].split()[0] for check in nodes} >= {"head"}
    assert sorted(check["detail"].split()[0] for check in nodes) == sorted(cluster.nodes())
    assert all(check["ok"] and "1 CPUs" in check["detail"] for check in nodes)

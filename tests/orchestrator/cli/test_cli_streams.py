"""Streams that are closed, full or unread, other locales, and stores with odd names."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import streams
from orchestrator.store.store import Store

COMMAND = [sys.executable, "-P", "-m", "orchestrator"]


def shell(line, *arguments, **environment):
    """Run `line`, in which `"$@"` is the command."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "PYTHONUTF8")}
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=250,
        env={**inherited, **environment},
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(closed, bnsweep, launched):
    done = shell(f'"$@" {closed}', "status", "depth")
    assert done.returncode == 0
    assert b"Error" not in done.stderr
    assert (b"1 finished" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_results_for_which_there_is_no_room_are_an_error_in_a_line(bnsweep, launched):
    done = shell('"$@" >/dev/full', "status", "depth")
    assert done.returncode == 3
    assert done.stderr.decode().splitlines()[-1].endswith("No space left on device")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(bnsweep, launched):
    done = shell('{ "$@"; echo $? >&2; } | true', "status", "depth")
    assert done.stderr.decode().splitlines()[-1] == "0"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("lost", "option"),
    [(">/dev/full 2>/dev/full", "--yes"), ("2>&1 | true", "--json"), (">&- 2>&-", "--json")],
)
def test_a_launch_goes_on_whatever_becomes_of_its_output(lost, option, bnsweep, tiny, tmp_path):
    line = f'{{ "$@"; echo $? >"$CODE"; }} {lost}'
    arguments = ("launch", tiny, "--inline", option, "--set", "epochs=1")
    shell(line, *arguments, CODE=str(tmp_path / "code"))
    assert (tmp_path / "code").read_text() == "0\n"
    store = Store(tmp_path / "runs")
    assert [store.state(s).state for s in store.newest_launch("tiny").specs] == ["finished"] * 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_shown_in_some_way(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=streams.FALLBACK)
    stream.write("1.0 ± 0.1 … 日 \udcc3")
    stream.flush()
    plus_minus = {"ascii": b"+-", "latin-1": b"\xb1"}[encoding]
    assert raw.getvalue() == b"1.0 " + plus_minus + b" 0.1 ... \\u65e5 \\udcc3"


def test_another_locale_changes_nothing_but_what_the_terminal_can_show(
    tiny, tmp_path, empty_mlflow_database
):
    """The C locale without the UTF-8 mode that Python would choose for it."""
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    store = tmp_path / "é γ"
    store.mkdir()
    (store / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    options = ("--inline", "--set", "epochs=1", "--set", "description=γ", "--store", store)
    done = shell('"$@"', "launch", tiny, *options, **bare)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert "mean +- standard deviation" in done.stdout.decode("ascii")
    assert {"sweeps", "trials", "mlflow.db", "mlartifacts"} <= {p.name for p in store.iterdir()}
    (launch,) = (store / "sweeps" / "tiny" / "launches").glob("*.json")
    assert json.loads(launch.read_text(encoding="utf-8"))["sweep"]["description"] == "γ"
    assert shell('"$@"', "audit", "tiny", "--store", store, **bare).returncode == 0


@pytest.mark.parametrize("name", ["what?dir # 50%", 'a%2Fb\n"it\'s";x=1&y'])
def test_a_store_may_have_any_name(name, bnsweep, tiny, tmp_path, empty_mlflow_database):
    store = tmp_path / "in" / name
    store.mkdir(parents=True)
    (store / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    launch = ("launch", tiny, "--inline", "--yes", "--set", "epochs=1")
    assert bnsweep(*launch, "--store", store).code == 0
    assert bnsweep("sync", "tiny", "--store", store).code == 0
    said = bnsweep("audit", "tiny", "--store", store)
    assert said.code == 0, said
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name]
    (experiment,) = (store / "mlartifacts").iterdir()
    assert len(list(Path(experiment).glob("*/artifacts"))) == 2

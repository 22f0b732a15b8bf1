"""What a launch from Python shows: lines, or a board that a notebook redraws."""

import subprocess
import sys

import pytest
from made_store import FINISHED

from orchestrator import Sweep, launch
from orchestrator.launching import progress
from orchestrator.launching.monitor import Observer
from orchestrator.store.records import Launch, TrialStatus
from orchestrator.tracking.memory_tracker import MemoryTracker

TEXT = """
name: tiny
base: {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, epochs: 1}
"""
LAUNCH = Launch(
    sweep={"name": "tiny", "trials": [FINISHED, FINISHED.changed(seed=1)]},
    number=3, time_ms=0, host="here",
)  # fmt: skip
FIRST, SECOND = (spec.trial_id for spec in LAUNCH.specs)


class Cell:
    """A notebook cell's display, which keeps what it was given."""

    def __init__(self):
        self.shown = []

    def __call__(self, data, raw, display_id):
        assert raw
        assert display_id
        self.shown.append(data)
        return self

    def update(self, data, raw):
        assert raw
        self.shown.append(data)


def test_a_launch_from_python_tells_its_events_in_lines(tmp_path, capfd):
    launch(Sweep.parse(TEXT), store=tmp_path, inline=True, tracker=MemoryTracker())
    said = capfd.readouterr()
    assert said.out == ""
    assert "launch 1 of tiny: 0/1 done" in said.err
    assert "d8 all s0: finished, test accuracy" in said.err


def test_an_observer_of_ones_own_takes_the_place_of_the_lines(tmp_path, capfd):
    launch(
        Sweep.parse(TEXT), store=tmp_path, inline=True, tracker=MemoryTracker(), observer=Observer()
    )
    assert capfd.readouterr().err == ""


def test_lines_reach_a_stream_that_is_no_file():
    code = """
import io, sys
from orchestrator.launching import progress
sys.stderr = io.StringIO()
with progress.showing() as observer:
    observer.note("seen")
sys.exit("seen" not in sys.stderr.getvalue())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_notebook_has_one_output_that_is_drawn_again_with_failures_above(monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)  # rich would show it, too
    cell = Cell()
    observer = progress.InNotebook(cell)
    observer.started(LAUNCH, [TrialStatus(FIRST, "pending"), TrialStatus(SECOND, "pending")])
    running = TrialStatus(FIRST, "running", attempt=1, epoch=1, epochs=4, test_accuracy=50.0)
    failed = TrialStatus(SECOND, "failed", attempt=1, epoch=0, epochs=4, cause="a <b> & c")
    observer.update([running, failed])
    observer.note("the tracker is away")
    first, *_, last = cell.shown
    assert len(cell.shown) == 3
    assert "0/2 done" in first["text/plain"]
    assert "1/4" in last["text/plain"]
    assert "50.0 %" in last["text/plain"]
    told = last["text/plain"].splitlines()[:2]
    assert told == ["d14 bn_only s1: failed after epoch 0: a <b> & c", "the tracker is away"]
    assert "a &lt;b&gt; &amp; c" in last["text/html"]
    assert "━" in last["text/html"]


NOTEBOOK = """
from orchestrator import Sweep, launch
from orchestrator.tracking.memory_tracker import MemoryTracker
sweep = Sweep.parse({text!r})
launch(sweep, store={store!r}, inline=True, tracker=MemoryTracker())
"""


@pytest.mark.filterwarnings("ignore")
def test_a_real_notebook_shows_the_board(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="pip install nbclient ipykernel")
    import nbformat

    code = NOTEBOOK.format(text=TEXT, store=str(tmp_path / "runs"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
    shown = [o for o in notebook.cells[0].outputs if o.output_type == "display_data"]
    assert len(shown) == 1
    assert "tiny 1/1 done" in shown[0].data["text/plain"]

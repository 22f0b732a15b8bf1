"""Where the output of Ray and MLflow goes during a launch (pytest has replaced sys.stdout)."""

import os
import subprocess
import sys

import pytest

from orchestrator.launching.standard_output import output_to


def test_what_this_process_and_its_children_write_goes_into_the_file(tmp_path, capfd):
    log = tmp_path / "launches" / "1.log"
    os.write(1, b"before\n")
    with output_to(log):
        os.write(1, b"from here\n")
        os.write(2, b"an error\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "")
    assert log.read_text() == "from here\nan error\nfrom a child\n"


def test_after_an_error_the_streams_lead_where_they_did_and_a_second_time_is_appended(
    tmp_path, capfd
):
    def fail():
        with output_to(tmp_path / "log"):
            os.write(1, b"again\n")
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
    assert (tmp_path / "log").read_text() == "again\nagain\n"

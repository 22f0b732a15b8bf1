"""Tables for the terminal."""

from orchestrator.cli import screen


def test_a_table_of_thousands_has_the_same_columns_without_colours():
    rows = [[f"trial {n}", screen.state("finished"), n] for n in range(screen.MANY + 1)]
    lines = str(screen.table(["trial", "state", "n"], rows, right=["n"])).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0] == "trial       state        n"
    assert lines[8] == "trial 7     finished     7"
    assert len({len(line) for line in lines}) == 1

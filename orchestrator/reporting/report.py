"""The report on a sweep: tables, figures and verdicts, the paper's numbers beside ours.

It reads the store alone and may be made at any time: of an unfinished sweep it says what is
missing. Needs neither torch nor a tracker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orchestrator.reporting import csv_tables, page, statements, verdicts
from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.accuracy import accuracy_figures
from orchestrator.reporting.figures.probes import probe_figures
from orchestrator.reporting.published import Published, published
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.reporting.tables import Table, show, with_interval
from trainer.files import write_atomically
from trainer.results import Result

INDEX = "index.html"


def build(sweep: SweepResults, out: Path) -> Path:
    """Write the report on a sweep into the folder `out`; returns its index.html.

    Beside the page: each figure as PNG and SVG, each table as CSV.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = published()
    figures = [*accuracy_figures(sweep.groups, rows), *probe_figures(sweep.probed)]
    for figure in figures:
        drawing.save(figure.figure, out, figure.name)
    judged = verdicts.judge(rows, sweep.groups)
    checked = statements.check(sweep.groups)
    for name, content in csv_tables.all_tables(sweep, judged, checked, rows).items():
        write_atomically(out / f"{name}.csv", content.encode())
    parts = [
        *_summary(sweep),
        page.heading("Accuracy"),
        page.table(sweep.accuracy_table()),
        *(page.picture((out / f"{f.name}.svg").read_bytes(), f.name, f.caption) for f in figures),
        page.heading("Against the paper"),
        *_against_the_paper(judged, checked, rows),
        page.heading("How it was computed"),
        page.table(computed_table(sweep.results)),
        page.folded("The sweep file", page.code(sweep.launch.sweep.source or "(not stored)")),
    ]
    write_atomically(out / INDEX, page.page(f"Report: {sweep.name}", parts).encode())
    return out / INDEX


def _summary(sweep: SweepResults) -> list[str]:
    counts = Counter(status.state for status in sweep.statuses)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    description = sweep.launch.sweep.description
    parts = [page.paragraph(description)] if description else []
    parts.append(page.paragraph(f"{len(sweep.specs)} trials: {states}."))
    if sweep.unfinished:
        missing = f"Not complete: {len(sweep.unfinished)} trials have no result (listed below)."
        parts += [page.note([missing]), page.table(missing_table(sweep))]
    return parts


def missing_table(sweep: SweepResults) -> Table:
    """Trials without a result: how far they came and, for failed ones, why."""
    rows = [
        [
            status.trial_id,
            status.state,
            f"{status.epoch or 0} of {status.epochs}",
            "–" if status.test_accuracy is None else f"{status.test_accuracy:.1f}",
            status.cause,
        ]
        for status in sweep.unfinished
    ]
    columns = ["trial", "state", "epoch", "last test accuracy (%)", "cause"]
    return Table("Trials without a result", columns, rows)


def _against_the_paper(
    judged: Sequence[verdicts.Verdict],
    checked: Sequence[statements.Shape],
    rows: Sequence[Published],
) -> list[str]:
    run = [verdict for verdict in judged if verdict.outcome != "not run"]
    counts = [verdict for verdict in run if verdict.published.kind == "count"]
    values = [verdict for verdict in run if verdict.published.kind != "count"]
    others = [verdict for verdict in judged if verdict.outcome == "not run"]
    equal = sum(verdict.outcome == "reproduced" for verdict in counts)
    unmapped = [row for row in rows if row.kind == "unmapped"]
    tested = [shape for shape in checked if shape.outcome != "not run"]
    untested = [shape for shape in checked if shape.outcome == "not run"]
    parts = _verdicts(values)
    if tested:
        parts.append(page.table(shape_table(tested)))
    folded = [
        (
            f"{len(counts)} published parameter counts, {equal} equal to ours",
            verdict_table(counts),
        ),
        (f"{len(others)} published values not run", verdict_table(others)),
        (
            f"{len(untested)} of the paper's {len(checked)} statements not run",
            shape_table(untested),
        ),
        (f"{len(unmapped)} published values unmapped", _unmapped(unmapped)),
    ]
    return parts + [page.folded(name, page.table(table)) for name, table in folded if table.rows]


def _verdicts(values: Sequence[verdicts.Verdict]) -> list[str]:
    if not values:
        return [
            page.paragraph(
                "No finished trial has the network, data and freezing mode of a value that the "
                "paper published."
            )
        ]
    return [
        page.paragraph(
            f"Reproduced: two one-sided t tests (5 %) show the difference to be below "
            f"{verdicts.MARGIN:g} point plus the precision of the published value, under the "
            "paper's protocol. Deviates: a one-sided test shows it to be above. A parameter count "
            "must be equal. Under another protocol there is no verdict, only the numbers."
        ),
        page.table(verdict_table(values)),
    ]


def verdict_table(judged: Sequence[verdicts.Verdict]) -> Table:
    """Published values beside ours."""
    rows = []
    for verdict in judged:
        row, digits = verdict.published, 0 if verdict.published.kind == "count" else 1
        ours = with_interval(verdict.ours, digits) if verdict.ours else "–"
        if verdict.ours and not digits:
            ours = f"{verdict.ours.mean:,.0f}"
        precision = f" ± {row.precision:g}" if row.precision else ""
        rows.append(
            [
                row.name,
                row.metric,
                f"{row.value:,.{digits}f}{precision} ({row.source})",
                f"{ours} (n {verdict.ours.n})" if verdict.ours and digits else ours,
                "–" if verdict.difference is None else f"{verdict.difference:+.{digits}f}",
                verdict.outcome + (f" ({verdict.flag})" if verdict.flag else ""),
                "; ".join(verdict.protocol),
            ]
        )
    columns = ["configuration", "metric", "paper", "ours", "difference", "verdict", "protocol"]
    return Table("Published values: ours as mean ± half of the 95 % interval", columns, rows)


def shape_table(checked: Sequence[statements.Shape]) -> Table:
    """The paper's statements."""
    rows = [
        [shape.statement, shape.outcome, "; ".join(shape.evidence), "; ".join(shape.protocol)]
        for shape in checked
    ]
    title = "The paper's statements: holds where every difference's 95 % interval is above zero"
    return Table(title, ["statement", "outcome", "differences, paired by seed", "protocol"], rows)


def _unmapped(rows: Sequence[Published]) -> Table:
    columns = ["configuration", "metric", "value", "source", "why"]
    body = [[row.name, row.metric, f"{row.value:g}", row.source, row.target] for row in rows]
    return Table("Published values that no result of ours is for", columns, body)


def computed_table(results: Sequence[Result]) -> Table:
    """Devices, versions, code and data of the results: how many results have each."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        facts = {name: show(value) for name, value in result.numerics.items()}
        facts |= {f"{name} sha256": result.digests.get(name, "")[:12] for name in ("code", "data")}
        facts["exact"] = show(result.exact)
        for name, value in facts.items():
            counts.setdefault(name, Counter())[value] += 1
    rows = [
        [name, ", ".join(f"{value} ({number})" for value, number in values.items())]
        for name, values in counts.items()
    ]
    return Table("Numerics (number of results)", ["what", "values"], rows)

"""The report on a sweep: tables, figures and verdicts, the paper's numbers beside ours.

It reads the store alone and may be made at any time: of an unfinished sweep it says what is
missing. Needs neither torch nor a tracker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.reporting import csv_tables, page, statements, verdicts
from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.accuracy import accuracy_figures
from orchestrator.reporting.figures.panels import CaptionedFigure
from orchestrator.reporting.figures.probes import probe_figures
from orchestrator.reporting.published import Published, published
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.reporting.tables import Table, show, with_interval
from orchestrator.sweep.recipes import RECIPES
from orchestrator.tracking.shown import command_of
from trainer.files import write_atomically
from trainer.results import Result

INDEX = "index.html"


def build(sweep: SweepResults, out: Path) -> Path:
    """Write the report on a sweep into the folder `out`; returns its index.html.

    Beside the page: each figure as PNG and SVG, each table as CSV.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = published()
    accuracy = accuracy_figures(sweep.groups, rows)
    probed = probe_figures(sweep.probed)
    for figure in (*accuracy, *probed):
        drawing.save(figure.figure, out, figure.name)
    judged = verdicts.judge(rows, sweep.groups)
    checked = statements.check(sweep.groups)
    for name, text in csv_tables.all_tables(sweep, judged, checked, rows).items():
        write_atomically(out / f"{name}.csv", text.encode())
    sections = {
        "Accuracy": [
            page.table(sweep.accuracy_table()),
            *_validation(sweep),
            *_pictures(accuracy, out),
        ],
        "Inside the networks": _pictures(probed, out),
        "Against the paper": _against_the_paper(judged, checked, rows),
        "How it was computed": [
            page.table(computed_table(sweep.results)),
            page.folded("The sweep file", page.code(sweep.launch.sweep.source or "(not stored)")),
        ],
    }
    sections = {title: content for title, content in sections.items() if content}
    parts = [*_summary(sweep), page.table(origin_table(sweep)), page.contents(list(sections))]
    for title, content in sections.items():
        parts += [page.heading(title), *content]
    write_atomically(out / INDEX, page.page(f"Report: {sweep.name}", parts).encode())
    return out / INDEX


def _pictures(figures: Sequence[CaptionedFigure], out: Path) -> list[str]:
    return [page.picture((out / f"{f.name}.svg").read_bytes(), f.name, f.caption) for f in figures]


def origin_table(sweep: SweepResults) -> Table:
    """When, from which code and by which command the results came, and what they cost.

    Times are UTC. The store alone decides, so the same results give the same page.
    """
    launch, results = sweep.launch, sweep.results
    commit = launch.commit or "not known (launched outside of a git checkout)"
    rows = [["launched", f"{_utc(launch.time_ms)}, launch {launch.number} on {launch.host}"]]
    if results:
        last = max(result.finished_ms for result in results)
        seconds = sum(result.seconds for result in results)
        cost = f"{seconds / 3600:,.2f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"
        rows.append(["last result", _utc(last)])
        rows.append(["training time", f"{cost}, summed over {len(results)} trials"])
    rows += [
        ["commit", commit],
        ["command", command_of(launch) or "none: the sweep was made in Python"],
        ["runs in MLflow", f"experiment {sweep.name}: bnsweep ui {sweep.name}"],
    ]
    return Table("Where this comes from", ["what", "value"], rows)


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _summary(sweep: SweepResults) -> list[str]:
    counts = Counter(status.state for status in sweep.statuses)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    description = sweep.launch.sweep.description
    parts = [page.paragraph(description)] if description else []
    parts.append(page.paragraph(f"{len(sweep.specs)} trials: {states}."))
    if sweep.verified:
        parts.append(_verified(sweep))
    if sweep.unfinished:
        missing = f"Not complete: {len(sweep.unfinished)} trials have no result (listed below)."
        parts += [page.note([missing]), page.table(missing_table(sweep))]
    return parts


def _verified(sweep: SweepResults) -> str:
    """How many trials were trained again by `verify`, and whether all numbers came out again."""
    total, finished = len(sweep.verified), len(sweep.results)
    other = sorted(trial for trial, verdict in sweep.verified.items() if verdict == "differs")
    text = f"Of {finished} finished trials {total} {'was' if total == 1 else 'were'} trained again"
    if other:
        return page.note([f"{text}; another number came out for {', '.join(other)}."])
    return page.paragraph(f"{text} by bnsweep verify, and every number was the same.")


def _validation(sweep: SweepResults) -> list[str]:
    """What the validation accuracy is, and how high; nothing where no trial keeps images for it."""
    table = sweep.validation_table()
    if table is None:
        return []
    numbers = sorted({spec.validation for spec in sweep.specs if spec.validation})
    text = (
        f"Validation: {' or '.join(f'{number:,}' for number in numbers)} of the training images, "
        "the classes in equal shares, on which none of these trials trains. They are the same for "
        "all trials of a data set, whatever the seed. Whoever chooses by this accuracy finds the "
        "test accuracy of what was chosen free of the luck of the choice."
    )
    return [page.paragraph(text), page.table(table)]


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
    checked: Sequence[statements.CheckedStatement],
    rows: Sequence[Published],
) -> list[str]:
    run = [verdict for verdict in judged if verdict.outcome != "not run"]
    counts = [verdict for verdict in run if verdict.published.kind == "count"]
    values = [verdict for verdict in run if verdict.published.kind != "count"]
    others = [verdict for verdict in judged if verdict.outcome == "not run"]
    equal = sum(verdict.outcome == "reproduced" for verdict in counts)
    unmapped = [row for row in rows if row.kind == "unmapped"]
    tested = [statement for statement in checked if statement.outcome != "not run"]
    untested = [statement for statement in checked if statement.outcome == "not run"]
    parts = _verdicts(values)
    if tested:
        parts.append(page.table(statement_table(tested)))
    folded = [
        (
            f"{len(counts)} published parameter counts, {equal} equal to ours",
            verdict_table(counts),
        ),
        (f"{len(others)} published values not run", verdict_table(others)),
        (
            f"{len(untested)} of the paper's {len(checked)} statements not run",
            statement_table(untested),
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
            "Each published network and mode is judged once, by its most precise source, and only "
            "under the paper's protocol. The difference stands with its 90 % interval, which holds "
            "the spread of our seeds (at least the binomial error of the test images), the spread "
            "of the paper's seeds (taken to be ours) and the precision of the printed value. "
            f"Reproduced: the interval lies within {verdicts.MARGIN:g} point plus that precision "
            "(two one-sided t tests, 5 %). Deviates: it lies beyond (one-sided t test, 5 %). Not "
            "decided: it reaches across; the number of seeds is what would decide if mean and "
            "spread stayed as they are. One seed is too few. A parameter count must be equal."
        ),
        *_assumptions(values),
        page.table(verdict_table(values)),
    ]


def _assumptions(values: Sequence[verdicts.Verdict]) -> list[str]:
    """What the protocol that we hold results against has from elsewhere than the paper."""
    if all(verdict.published.dataset != "imagenet" for verdict in values):
        return []
    return [
        page.paragraph(
            "Assumed, since the paper does not say it: on ImageNet, BatchNorm normalised over "
            f"{RECIPES['imagenet']['bn_batch']} images (bn_batch), as in the baseline of the "
            "paper's framework, which splits batches of 1024 over four GPUs."
        )
    ]


def verdict_table(judged: Sequence[verdicts.Verdict]) -> Table:
    """Published cells beside ours."""
    rows = [
        [
            verdict.published.name,
            verdict.published.metric,
            _theirs(verdict),
            *_ours(verdict),
            _verdict(verdict),
            "; ".join(verdict.protocol),
        ]
        for verdict in judged
    ]
    columns = ["configuration", "metric", "paper", "ours", "difference", "verdict", "protocol"]
    title = "Published values: ours ± half of the 95 % interval, differences of the 90 % interval"
    return Table(title, columns, rows)


def _theirs(verdict: verdicts.Verdict) -> str:
    """The value that is judged, then the other sources' values."""
    digits = 0 if verdict.published.kind == "count" else 1
    sources = [
        f"{row.value:,.{digits}f}{f' ± {row.precision:g}' if row.precision else ''} ({row.source})"
        for row in (verdict.published, *verdict.others)
    ]
    return "; also ".join(sources)


def _ours(verdict: verdicts.Verdict) -> tuple[str, str]:
    """Our value and its difference to theirs."""
    ours, difference = verdict.ours, verdict.difference
    if ours is None or difference is None:
        return "–", "–"
    if verdict.published.kind == "count":
        return f"{ours.mean:,.0f}", f"{difference:+,.0f}"
    half = "" if verdict.half_width is None else f" ± {verdict.half_width:.1f}"
    return f"{with_interval(ours)} (n {ours.n})", f"{difference:+.1f}{half}"


def _verdict(verdict: verdicts.Verdict) -> str:
    seeds, needed = verdict.seeds_to_decide, ""
    if verdict.outcome == "not decided":
        enough = f"{seeds} seeds would" if seeds else f"even {verdicts.MOST_SEEDS} seeds would not"
        needed = f": {enough} decide"
    return verdict.outcome + needed + (f" ({verdict.flag})" if verdict.flag else "")


def statement_table(checked: Sequence[statements.CheckedStatement]) -> Table:
    """The paper's statements."""
    rows = [
        [
            statement.text,
            statement.outcome,
            "; ".join(statement.evidence),
            "; ".join(statement.protocol),
        ]
        for statement in checked
    ]
    title = (
        "The paper's statements: each holds where every 95 % interval lies above zero (of a size: "
        "within what the paper gives), and does not where one lies wholly outside, at 95 % for all "
        "together"
    )
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

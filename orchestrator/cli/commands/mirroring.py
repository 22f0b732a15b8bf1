"""The verbs about the tracker: sync and ui. MLflow is loaded by the verb, not before."""

from __future__ import annotations

import contextlib
import signal
import webbrowser
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestrator import settings as settings_module
from orchestrator.cli import lookup, options, screen
from orchestrator.cli.options import examples
from orchestrator.errors import BnsweepError, UserError
from orchestrator.library import connect
from orchestrator.settings import Settings
from orchestrator.store.store import Store
from orchestrator.tracking import audit as proofs
from orchestrator.tracking import ui as pages
from orchestrator.tracking.forwarder import Backlog
from orchestrator.tracking.forwarder import sync as send

app = typer.Typer(rich_markup_mode=None)


@app.command("sync", epilog=examples("bnsweep sync quickstart", "bnsweep sync"))
def sync(
    name: options.OptionalSweepName = "",
    as_json: options.Json = False,
    store: options.Store = None,
) -> int:
    """Send the tracker what it lacks of a sweep, or of all sweeps."""
    settings = settings_module.load(store)
    opened = Store(settings.store)
    sweeps = [name] if name else opened.sweeps()
    for sweep in sweeps:
        lookup.launch_of(opened, sweep)
    tracker = connect(settings)
    lacking = {sweep: send(opened, sweep, tracker) for sweep in sweeps}
    if as_json:
        screen.show_json({"sweeps": [{"sweep": s, **asdict(b)} for s, b in lacking.items()]})
    else:
        for sweep, backlog in lacking.items():
            screen.show(f"{sweep}: {_said(backlog)}")
            for note in backlog.notes:
                screen.say(note, "yellow")
    return 0 if all(backlog.empty for backlog in lacking.values()) else 4


def _said(backlog: Backlog) -> str:
    if backlog.empty:
        return "the tracker has everything"
    why = f": {backlog.problem}" if backlog.problem else ""
    return f"the tracker still lacks {backlog.records} records of {backlog.trials} trials{why}"


@app.command("audit", epilog=examples("bnsweep audit quickstart", "bnsweep audit --json"))
def audit(
    name: options.OptionalSweepName = "",
    as_json: options.Json = False,
    store: options.Store = None,
) -> int:
    """Prove that trials balance, folders are known, journals whole, and MLflow equals them.

    Exit code 1 where something was found. Changes nothing.
    """
    settings = settings_module.load(store)
    opened = Store(settings.store)
    tracker = connect(settings)
    found = {}
    for sweep in [name] if name else opened.sweeps():
        lookup.launch_of(opened, sweep)
        found[sweep] = proofs.audit(opened, sweep, tracker)
    checks = [{"sweep": s, **asdict(check)} for s, all_of in found.items() for check in all_of]
    ok = all(check["ok"] for check in checks)
    if as_json:
        screen.show_json({"ok": ok, "checks": checks})
        return 0 if ok else 1
    for sweep, all_of in found.items():
        rows = [[_mark(check.ok), check.name, check.detail] for check in all_of]
        screen.show(Text(sweep, "bold"), screen.table(["", "check", "found"], rows))
    return 0 if ok else 1


def _mark(ok: bool) -> Text:
    return Text("ok", "green") if ok else Text("NO", "bold red")


@app.command("ui", epilog=examples("bnsweep ui quickstart", "bnsweep ui --no-browser --port 5000"))
def ui(
    name: options.OptionalSweepName = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0: a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it, or only print its address.")
    ] = True,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Open a sweep's charts in MLflow: over the store, or on the configured server."""
    settings = settings_module.load(store)
    opened = Store(settings.store)
    if name:
        lookup.launch_of(opened, name)
    served = pages.serve(settings, host, port)
    try:
        url = _charts(settings, opened, name, served.url)
        if as_json:
            screen.show_json({"url": url})
        else:
            screen.show(url)
        if browser:
            webbrowser.open(url)
        if served.process is not None:
            screen.say("Ctrl-C ends the server", "dim")
            _until_interrupted(served)
    finally:
        served.close()


def _charts(settings: Settings, store: Store, name: str, base: str) -> str:
    """The sweep's chart page (of the last launched sweep without a name), else the first page."""
    launched = [launch for s in store.sweeps() if (launch := store.newest_launch(s))]
    if not name and launched:
        name = max(launched, key=lambda launch: launch.time_ms).sweep
    try:
        return connect(settings).experiment_url(name, base) if name else base
    except UserError:
        raise
    except BnsweepError as error:
        screen.say(str(error), "yellow")
        return base


def _until_interrupted(served: pages.Served) -> None:
    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            served.wait()
    finally:
        signal.signal(signal.SIGTERM, before)

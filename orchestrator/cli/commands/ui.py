"""`bnsweep ui`. Loads MLflow."""

from __future__ import annotations

import contextlib
import signal
import webbrowser
from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.errors import BnsweepError, UserError
from orchestrator.library import connect
from orchestrator.settings import Settings
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store
from orchestrator.tracking.ui import Served, serve

EXAMPLES = ("bnsweep ui quickstart", "bnsweep ui --no-browser --port 5000")


def ui(
    name: options.OptionalSweepName = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0: a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it, or only print its address.")
    ] = True,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Open a sweep's charts in MLflow: over the store, or on the configured server."""
    settings = load_settings(store_folder)
    store = Store(settings.store)
    if name:
        lookup.launch_of(store, name)
    served = serve(settings, host, port)
    try:
        url = _chart_page(settings, store, name, served.url)
        if as_json:
            screen.show_json({"url": url})
        else:
            screen.show(url)
        if browser:
            webbrowser.open(url)
        if served.process is not None:
            screen.say("Ctrl-C ends the server", "dim")
            _wait_until_interrupted(served)
    finally:
        served.close()


def _chart_page(settings: Settings, store: Store, name: str, base: str) -> str:
    """The sweep's chart page (without a name the last launched sweep's), else the first page."""
    if not name and (launches := store.newest_launches()):
        name = max(launches, key=lambda launch: launch.time_ms).sweep.name
    try:
        return connect(settings).experiment_url(name, base) if name else base
    except UserError:
        raise
    except BnsweepError as error:
        screen.say(str(error), "yellow")
        return base


def _wait_until_interrupted(served: Served) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            served.wait()
    finally:
        signal.signal(signal.SIGTERM, before)

"""`bnsweep push`."""

from __future__ import annotations

from orchestrator.cli import options, transfers
from orchestrator.settings import load as load_settings
from orchestrator.store import transfer
from orchestrator.store.remote import open_remote
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep push s3://lab/results depth", "bnsweep push ssh://host/data/results")


def push(
    url: transfers.Url,
    name: options.OptionalSweepName = "",
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> int:
    """Send a sweep's finished trials, or the whole store's, to a place that others can pull from.

    What is there already is compared, never replaced. Interrupted, the same command goes on. Exit
    code 1 where a trial there has other numbers.
    """
    store = Store(load_settings(store_folder).store)
    return transfers.show("push", url, transfer.push(store, open_remote(url), name), as_json)

"""`bnsweep pull`."""

from __future__ import annotations

from orchestrator.cli import options, transfers
from orchestrator.settings import load as load_settings
from orchestrator.store import transfer
from orchestrator.store.remote import open_remote
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep pull s3://lab/results depth", "bnsweep pull ssh://host/data/results")


def pull(
    url: transfers.Url,
    name: options.OptionalSweepName = "",
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> int:
    """Fetch finished trials, of one sweep or all, that `bnsweep push` has sent there.

    A launch of the sweep then trains only what is missing. What the store has already is compared,
    never replaced. Interrupted, the same command goes on. Exit code 1 where a trial was refused.
    """
    store = Store(load_settings(store_folder).store)
    remote = open_remote(url)
    store.open_for_writing()
    return transfers.show("pull", url, transfer.pull(store, remote, name), as_json)

"""Where results travel to and from: a folder, a host reached by ssh, or an S3 bucket.

Files are written once, whole or not at all, and never changed. `open_remote` chooses by the URL.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import posixpath
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from orchestrator.errors import UnreachableError, UserError
from trainer import files

if TYPE_CHECKING:
    import obstore.store
    import sshfs

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_KEYS = "/latest/api/token"
"""Where a cloud's machines ask for their own keys, if no others are given; elsewhere in vain."""
_CONNECT_S = 30
_TRANSFER_S = timedelta(minutes=10)
"""A request to S3 has so long for a whole file."""
_KEEPALIVE_S = 15


_Reaching = Callable[[], contextlib.AbstractContextManager[None]]


class Remote(Protocol):
    """A place of files whose names may have folders (`trials/x.tar`).

    Every method raises UnreachableError, in a line, where the place cannot be reached or used.
    """

    url: str

    def names(self, folder: str) -> set[str]:
        """Names of the files and folders in `folder`; none where there is no such folder."""

    def read(self, name: str, count: int | None = None) -> bytes:
        """A file's content, or its first `count` bytes."""

    def write_once(self, name: str, content: bytes) -> bool:
        """Write a file whole, unless there is one: False, also where another one was first."""


def open_remote(url: str) -> Remote:
    """The place that a URL names. Raises UserError for one that is none."""
    parts = urlsplit(url)
    if parts.password:
        raise UserError(f"{parts.scheme}://…: holds a password, which others can see; use a key")
    match parts.scheme:
        case "":
            return _Folder(Path(url).absolute())
        case "file":
            return _Folder(Path(unquote(parts.path)))
        case "ssh" if parts.hostname:
            return _Ssh(url, parts)
        case "s3" if parts.hostname:
            return _S3(url)
    raise UserError(
        f"{url}: no place for results; allowed: a folder, ssh://HOST/PATH, s3://BUCKET/PREFIX"
    )


@contextlib.contextmanager
def _reaching(url: str, *more: type[Exception]) -> Iterator[None]:
    """Errors of files, and of the kinds `more`, in one line."""
    kinds: tuple[type[Exception], ...] = (OSError, *more)
    try:
        yield
    except kinds as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if _NO_KEYS in reason:
            reason = "has no keys to enter with; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise UnreachableError(f"{url}: {reason.splitlines()[0][:300]}") from error


@contextlib.contextmanager
def _extra(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{url}: needs the package {error.name}; install it: pip install 'bnsweep[remote]'"
        ) from error


class _Folder:
    def __init__(self, root: Path) -> None:
        self.url, self._root = str(root), root

    def names(self, folder: str) -> set[str]:
        with _reaching(self.url):
            try:
                return {n for n in os.listdir(self._root / folder) if not n.startswith(".")}
            except FileNotFoundError:
                return set()

    def read(self, name: str, count: int | None = None) -> bytes:
        with _reaching(self.url), (self._root / name).open("rb") as file:
            return file.read(count)

    def write_once(self, name: str, content: bytes) -> bool:
        path = self._root / name
        with _reaching(self.url):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                return False
            try:
                return files.write_once(path, content)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            files.write_atomically(path, content)  # a disk without hard links, one person's
            return True


class _Ssh:
    """Through the server's SFTP, as `ssh` would connect: ~/.ssh/config, its keys, known hosts."""

    def __init__(self, url: str, parts: SplitResult) -> None:
        with _extra(url):
            import asyncssh
            import sshfs
        # `/~/…` is below the home folder, as for git
        self._root = unquote(parts.path).removeprefix("/~/") or "/"
        self.url = url
        self._reaching: _Reaching = functools.partial(_reaching, url, asyncssh.Error)
        self._refused = asyncssh.SFTPError
        options: dict[str, Any] = {"port": parts.port, "username": parts.username}
        with self._reaching():
            self._fs: sshfs.SSHFileSystem = sshfs.SSHFileSystem(
                parts.hostname,
                known_hosts=(),  # those of OpenSSH; sshfs's default is to trust any host
                connect_timeout=_CONNECT_S,
                keepalive_interval=_KEEPALIVE_S,
                skip_instance_cache=True,
                **{name: value for name, value in options.items() if value is not None},
            )

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name)

    def names(self, folder: str) -> set[str]:
        with self._reaching():
            try:
                paths = self._fs.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return set()
            names = map(posixpath.basename, paths)
            return {name for name in names if not name.startswith(".")}

    def read(self, name: str, count: int | None = None) -> bytes:
        with self._reaching(), self._fs.open(self._path(name), "rb") as file:
            return bytes(file.read(-1 if count is None else count))

    def write_once(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        folder, last = posixpath.split(path)
        temporary = posixpath.join(folder, f".{last}.{uuid.uuid4().hex}")
        with self._reaching():
            if self._fs.exists(path):
                return False
            self._fs.pipe_file(temporary, content)  # makes the folders too
            try:
                self._rename(temporary, path)
            except self._refused:
                if not self._fs.exists(path):
                    raise
                self._fs.rm_file(temporary)
                return False
            return True

    def _rename(self, old: str, new: str) -> None:
        """SFTP's own rename, which refuses a name that is taken; sshfs's `mv` would replace it."""
        from fsspec.asyn import sync

        async def rename() -> None:
            async with self._fs.client.start_sftp_client() as sftp:
                await sftp.rename(old, new)

        sync(self._fs.loop, rename)


class _S3:
    """Keys, region and endpoint from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …), or
    the machine's own role."""

    def __init__(self, url: str) -> None:
        with _extra(url):
            import obstore.store
            from obstore.exceptions import AlreadyExistsError, BaseError
        self.url = url
        self._reaching: _Reaching = functools.partial(_reaching, url, BaseError, ValueError)
        self._taken = AlreadyExistsError
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")  # in one's own network
        with self._reaching():
            self._store: obstore.store.S3Store = obstore.store.S3Store.from_url(
                url, client_options={"allow_http": plain, "timeout": _TRANSFER_S}
            )

    def names(self, folder: str) -> set[str]:
        with self._reaching():
            found = self._store.list_with_delimiter(folder)
            paths = [o["path"] for o in found["objects"]] + list(found["common_prefixes"])
            return {posixpath.basename(path) for path in paths}

    def read(self, name: str, count: int | None = None) -> bytes:
        with self._reaching():
            if count is not None:
                return bytes(self._store.get_range(name, start=0, length=count))
            return bytes(self._store.get(name).bytes())

    def write_once(self, name: str, content: bytes) -> bool:
        with self._reaching():
            try:
                self._store.put(name, content, mode="create")
            except self._taken:
                return False
            return True

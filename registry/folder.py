"""A folder that others may write to, held open: what was checked there is what is used.

A name in such a folder can become a link, a pipe or a device between two looks at it. So the folder is held by its descriptor,
no link in it is followed, only plain files are opened, none is waited for, and what is written is new and read back.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from registry.errors import Broken, NotFound

INCOMING: Final = ".incoming-"
"""What begins so is not finished."""
_HELD: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Folder:
    """An open folder. ``path`` is for messages."""

    path: Path
    handle: int

    def read(self, name: str, largest: int) -> bytes:
        """The plain file ``name``, of at most ``largest`` bytes. Raises ``NotFound``; ``Broken`` where it is anything else."""
        with self._opened(name, largest) as (stream, size):
            found = stream.read(size + 1)
        if len(found) != size:
            raise Broken(f"{self.path / name} changed while it was read: somebody writes there; find out who, and publish again")
        return found

    def digest(self, name: str, largest: int) -> str:
        """sha256 of the plain file ``name``, which is not held in memory. Raises like ``read``."""
        with self._opened(name, largest) as (stream, size):
            digest, left = hashlib.sha256(), size + 1
            while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
        return digest.hexdigest()

    @contextmanager
    def fresh(self, name: str) -> Iterator[BinaryIO]:
        """A new file ``name``, to write to; everybody may read it. It is on the disk when the block ends.

        Raises ``Broken`` where somebody put something there before.
        """
        try:
            handle = os.open(name, _WRITE, 0o600, dir_fd=self.handle)
        except FileExistsError as problem:
            raise Broken(
                f"{self.path / name} is there before it was written: somebody put it there; find out who can write to"
                f" {self.path.parent}, and publish again"
            ) from problem
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())

    def replace(self, name: str, content: bytes) -> None:
        """Makes ``name`` a plain file with ``content``, in one step, whatever it was; one that holds it already stays.

        Raises ``Broken`` where a folder is in the way, and where somebody exchanged what was written.
        """
        if self._holds(name, content):
            return
        incoming = incoming_name()
        try:
            with self.fresh(incoming) as stream:
                stream.write(content)
            os.rename(incoming, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except IsADirectoryError as problem:
            raise Broken(f"{self.path / name} is a folder, where a file belongs; remove it, and publish again") from problem
        finally:
            with suppress(OSError):
                os.unlink(incoming, dir_fd=self.handle)
        self.sync()
        if not self._holds(name, content):
            raise Broken(
                f"{self.path / name} is not what was written there just now: somebody exchanged it; find out who can write to"
                f" {self.path}, and publish again"
            )

    def remove(self, name: str) -> bool:
        """Takes ``name`` away, whatever it is; whether there was anything. Raises ``OSError`` where that may not be done."""
        try:
            mode = os.lstat(name, dir_fd=self.handle).st_mode
            if stat.S_ISDIR(mode):
                shutil.rmtree(name, dir_fd=self.handle)
            else:
                os.unlink(name, dir_fd=self.handle)
        except FileNotFoundError:
            return False
        self.sync()
        return True

    def names(self) -> set[str]:
        """Everything in it."""
        return set(os.listdir(self.handle))  # noqa: PTH208 - pathlib knows no descriptors

    def sync(self) -> None:
        """Makes its entries survive a power cut."""
        os.fsync(self.handle)

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return self.read(name, len(content)) == content
        except (NotFound, Broken):
            return False

    @contextmanager
    def _opened(self, name: str, largest: int) -> Iterator[tuple[BinaryIO, int]]:
        shown = self.path / name
        try:
            # Looked at first, because opening a device can already do something.
            _check_plain(os.lstat(name, dir_fd=self.handle), shown, largest)
            stream = os.fdopen(os.open(name, _READ, dir_fd=self.handle), "rb")
        except FileNotFoundError as problem:
            raise NotFound(f"{shown} is missing; publish the champion, or name the file that is meant") from problem
        except OSError as problem:
            raise Broken(f"{shown} cannot be read ({problem.strerror}); give this user access, or publish again") from problem
        with stream:
            facts = os.fstat(stream.fileno())
            _check_plain(facts, shown, largest)
            yield stream, facts.st_size


@contextmanager
def opened(path: Path, inside: Folder | None = None) -> Iterator[Folder]:
    """The folder ``path``, or the folder of that name ``inside`` another one, which is no link.

    What leads to it may be links: whoever named the folder chose them. Raises ``NotFound``, ``Broken``.
    """
    try:
        handle = os.open(path if inside is None else path.name, _HELD, dir_fd=None if inside is None else inside.handle)
    except FileNotFoundError as problem:
        raise NotFound(f"{path} is missing; publish the champion, or name the folder that is meant") from problem
    except NotADirectoryError as problem:
        raise Broken(f"{path} is a link or no folder: only a folder is used; remove it, and publish again") from problem
    except OSError as problem:
        raise Broken(f"{path} cannot be opened ({problem.strerror}); give this user access") from problem
    try:
        yield Folder(path, handle)
    finally:
        os.close(handle)


def incoming_name() -> str:
    """A name that nobody can guess, for a file that is not finished."""
    return f"{INCOMING}{secrets.token_hex(16)}"


def _check_plain(facts: os.stat_result, shown: Path, largest: int) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise Broken(f"{shown} is {_kind(facts.st_mode)}, not a plain file: nothing else is used; remove it, and publish again")
    if facts.st_size > largest:
        raise Broken(f"{shown} has {facts.st_size} bytes, of which at most {largest} are read: it is none of ours; publish again")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")

"""git and DVC as programs: their output, or one line about what failed."""

import os
import subprocess
import sys
from pathlib import Path

from core.errors import ChangeoverError

_GIT = (
    "git",
    # Committed and tagged is by machine, at night too, where nobody types the passphrase of a person's key.
    *("-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false", "-c", "tag.forceSignAnnotated=false"),
    # What a person never wants in repositories of their own may be a plant's record.
    *("-c", f"core.excludesFile={os.devnull}"),
)


DVC = (sys.executable, "-m", "dvc")
"""The program, of this very environment."""


def git(plant: Path, *arguments: str) -> str:
    """Output of a git command; ChangeoverError if it fails."""
    return _run(plant, [*_GIT, *arguments])


def try_git(plant: Path, *arguments: str) -> str | None:
    """Output of a git command that may fail, which is None."""
    done = _start(plant, [*_GIT, *arguments])
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()


def dvc(folder: Path, *arguments: str) -> str:
    """Output of a DVC command; ChangeoverError if it fails."""
    return _run(folder, [*DVC, *arguments])


def _run(folder: Path, command: list[str]) -> str:
    done = _start(folder, command)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).decode("utf-8", "replace").splitlines() if line.strip()]
        words = next((line for line in lines if line.lower().startswith(("error", "fatal"))), lines[0] if lines else "no message")
        words = words.removeprefix("ERROR: ").removeprefix("unexpected error - ")
        tool = "git" if command[0] == "git" else "dvc"
        verb = next((word for word in command[len(_GIT if tool == "git" else DVC) :] if word in _VERBS), "")
        raise ChangeoverError(f"'{tool} {verb}' failed in {folder}: {words[:300]}; repair that and run again")
    return done.stdout.decode("utf-8", "replace").strip()


_VERBS = frozenset(
    {"add", "checkout", "commit", "config", "fetch", "init", "log", "pull", "push", "remote", "rev-parse", "status", "tag"}
    | {"worktree"}
)
_OF_A_CALLER = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
    | {"GIT_PREFIX", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS"}
)
"""What a git hook that calls us has set, which would point git at its repository."""


def _start(folder: Path, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run without a terminal to ask on, without telemetry, and without what a calling git hook may have left behind."""
    inherited = {key: value for key, value in os.environ.items() if key not in _OF_A_CALLER}
    environment = {
        **inherited,
        "DVC_NO_ANALYTICS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",  # for DVC, where there is no such locale
    }
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise ChangeoverError(
            f"{command[0]!r} cannot be started in {folder} ({error.strerror}); install it or check the folder"
        ) from error
    if done.returncode and b"safe.directory" in done.stderr:
        owner = folder.stat().st_uid
        raise ChangeoverError(
            f"{folder} belongs to another user (number {owner}, you are {os.geteuid()}), and git refuses to work there; run as "
            f"that user, or, where you trust them, 'git config --global --add safe.directory {folder.resolve()}'"
        )
    return done

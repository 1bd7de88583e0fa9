"""git and DVC as programs: their output, or one line about what failed."""

import os
import subprocess
import sys
from pathlib import Path

from data.errors import ChangeoverError


def git(plant: Path, *arguments: str) -> str:
    """Output of a git command; ChangeoverError if it fails."""
    return _run(plant, ["git", *arguments])


def try_git(plant: Path, *arguments: str) -> str | None:
    """Output of a git command that may fail, which is None."""
    done = _start(plant, ["git", *arguments])
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()


def dvc(folder: Path, *arguments: str) -> str:
    """Output of a DVC command; ChangeoverError if it fails."""
    return _run(folder, [sys.executable, "-m", "dvc", *arguments])


def _run(folder: Path, command: list[str]) -> str:
    done = _start(folder, command)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).decode("utf-8", "replace").splitlines() if line.strip()]
        told = next((line for line in lines if line.lower().startswith(("error", "fatal"))), lines[0] if lines else "no message")
        told = told.removeprefix("ERROR: ").removeprefix("unexpected error - ")
        tool = "git" if command[0] == "git" else "dvc"
        verb = next((word for word in command[1 if tool == "git" else 3 :] if word in _VERBS), "")
        raise ChangeoverError(f"'{tool} {verb}' failed in {folder}: {told[:300]}; repair that and run again")
    return done.stdout.decode("utf-8", "replace").strip()


_VERBS = {"add", "checkout", "commit", "fetch", "pull", "push", "remote", "status", "tag", "worktree"}


def _start(folder: Path, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run without a terminal to ask on, without telemetry, and without what a calling git hook may have left behind."""
    inherited = {key: value for key, value in os.environ.items() if key not in {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}}
    environment = {
        **inherited,
        "DVC_NO_ANALYTICS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "LC_ALL": "C.UTF-8",
    }
    try:
        return subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise ChangeoverError(
            f"{command[0]!r} cannot be started in {folder} ({error.strerror}); install it or check the folder"
        ) from error

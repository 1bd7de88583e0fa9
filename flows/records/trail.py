"""The plant's audit trail: where it lies, and its head, kept where who can rewrite the trail cannot reach.

Each line of ``audit/<year>/<month>-<day>.jsonl`` in the plant's git repository is the head at one moment: time, number and
hash of the last event. One file a day keeps commits small. Push the repository elsewhere, and the history of the heads can
not be rewritten in silence.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import ChangeoverError
from core.files import write_json, write_text
from data.repository import git, try_git
from data.version import commit_files, plant_lock
from flows.plant import Plant
from flows.records import locked_heads
from registry.errors import Broken
from registry.names import is_digest
from registry.server.app import DATABASE
from registry.trail import audit
from registry.trail import key as trail_key
from registry.trail.events import GENESIS

FOLDER = "audit"


@dataclass(frozen=True)
class KeptHeads:
    """Heads as ``registry.trail.audit.verify`` takes them, the problems of the places that keep them, and which of these could
    not be read."""

    heads: tuple[str, ...]
    problems: tuple[str, ...]
    silent: tuple[str, ...] = ()


def database(plant: Plant) -> Path | str:
    """The database with the trail, as ``registry.trail.audit`` takes it; it can be read while the server is down."""
    return plant.config.registry.database or plant.state / "mlflow" / DATABASE


def key_file(plant: Plant) -> Path:
    """The file with the key that seals the trail's events, as ``registry.trail.audit.verify`` takes it."""
    return trail_key.key_file(plant.state / "mlflow")


def check_head(plant: Plant) -> tuple[str, ...]:
    """Asks every witness there is (the plant's files, its git history, the bucket): ``Broken`` where one of them contradicts the
    trail or another, and nothing is promoted until that is explained.

    Gives a sentence for each witness that could not be asked.
    """
    _kept_last(plant)
    kept = _newest_heads(plant)
    lost = audit.lost_heads(database(plant), kept.heads) if kept.heads else []  # a plant that kept none may have no trail yet
    if problems := [*lost, *kept.problems]:
        raise Broken(f"{problems[0]}; promote nothing until it is explained: run 'changeover audit verify'")
    return kept.silent


def keep_head(plant: Plant) -> bool:
    """Commit the trail's head, and write it to the bucket if there is one, where it changed; whether it did.

    ``Broken`` as ``check_head``: then nothing is written over the kept head. ChangeoverError if git or the bucket fail.
    """
    with plant_lock(plant.path):
        head = audit.head(database(plant))
        number, _, digest = head.partition(":")
        last, newest = _kept_last(plant)
        changed = head != (last or f"0:{GENESIS}")
        if changed:
            now = datetime.now(UTC)
            file = plant.path / FOLDER / f"{now:%Y}" / f"{now:%m-%d}.jsonl"
            line = json.dumps({"time": f"{now:%Y-%m-%dT%H:%M:%SZ}", "number": int(number), "hash": digest})
            write_text(file, (file.read_text(encoding="utf-8") if file.exists() else "") + line + "\n")
            newest = file
        if newest is not None:  # one that a killed process wrote and did not commit comes along
            commit_files(plant.path, [newest], f"Audit trail: {number} events, head {digest[:12]}")
    settings = plant.config.audit
    if settings.s3 is not None and int(number) > 0:
        locked_heads.put(settings.s3, head, settings.retain_days, plant.state / "head-in-s3")
    return changed


def kept_heads(plant: Plant) -> KeptHeads:
    """Every head that was ever kept: in the plant's files, in its git history, and in the bucket if there is one."""
    heads: dict[str, None] = {}
    problems = []
    for file in sorted((plant.path / FOLDER).glob("*/*.jsonl")):
        for place, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            head = _head(line)
            if head is None:
                problems.append(f"{file}, line {place} is no head of the audit trail: it was edited; see 'git log' of the file")
            else:
                heads[head] = None
    for added, line in _history(plant.path):
        head = _head(line)
        if added and head is not None:
            heads[head] = None
        elif not added:
            problems.append(
                f"a kept head was taken out of {FOLDER} by a commit ({line[:120]}); find it with 'git log -p {FOLDER}'"
            )
    locked, silent = _locked(plant)
    heads |= dict.fromkeys(locked)
    return KeptHeads(tuple(heads), (*problems, *silent))


def _locked(plant: Plant) -> tuple[list[str], tuple[str, ...]]:
    """Heads in the bucket, and why they could not be read."""
    if plant.config.audit.s3 is None:
        return [], ()
    try:
        return locked_heads.listed(plant.config.audit.s3), ()
    except ChangeoverError as error:
        return [], (str(error),)


def _newest_heads(plant: Plant) -> KeptHeads:
    """The newest head of every witness; the chain ties the earlier ones to it."""
    committed = _heads_in_git(plant)
    locked, silent = _locked(plant)
    heads = filter(None, (committed.get("head"), max(locked, key=_number, default=None)))
    return KeptHeads(tuple(heads), tuple(committed["problems"]), silent)


def _heads_in_git(plant: Plant) -> dict[str, Any]:
    """``head`` with the largest number that a commit ever added, and ``problems``: heads that a commit took out.

    What was read is remembered up to its commit, so that a look a minute does not read years of history.
    """
    memory = plant.state / "heads-in-git.json"
    known: dict[str, Any] = {"commit": "", "head": None, "problems": []}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.keys() == known.keys() and _is_before_now(plant.path, str(found["commit"])):
            known = found
    now = git(plant.path, "rev-parse", "HEAD")
    if known["commit"] == now:
        return known
    for added, line in _history(plant.path, known["commit"]):
        head = _head(line)
        if not added:
            known["problems"].append(
                f"a kept head was taken out of {FOLDER} by a commit ({line[:120]}); find it with 'git log -p {FOLDER}'"
            )
        elif head is not None and _number(head) >= _number(known["head"] or "0:"):
            known["head"] = head
    known["commit"] = now
    write_json(memory, known)
    return known


def _number(head: str) -> int:
    return int(head.partition(":")[0])


def _is_before_now(plant: Path, commit: str) -> bool:
    """Whether the history of the plant still goes through ``commit``."""
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit, re.ASCII):
        return False
    return try_git(plant, "merge-base", "--is-ancestor", commit, "HEAD") is not None


def _kept_last(plant: Plant) -> tuple[str | None, Path | None]:
    """The newest head in the plant's files, and its file. ``Broken`` where the trail does not contain it.

    The number says which head is newest, never the name of a file: a clock that ran ahead once must not have the last word.
    """
    last: str | None = None
    place: Path | None = None
    for file in sorted((plant.path / FOLDER).glob("*/*.jsonl")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        head = _head(lines[-1]) if lines else None
        if head is None:
            raise Broken(f"{file} does not end with a head of the audit trail: it was edited; run 'changeover audit verify'")
        if last is None or _number(head) >= _number(last):
            last, place = head, file
    if last is not None and (lost := audit.lost_heads(database(plant), [last])):
        raise Broken(f"{lost[0]} (kept in {place}); promote nothing until it is explained: run 'changeover audit verify'")
    return last, place


def _head(line: str) -> str | None:
    try:
        found = json.loads(line)
        number, digest = found["number"], found["hash"]
    except (ValueError, KeyError, TypeError):
        return None
    good = type(number) is int and 0 <= number < 10**11 and is_digest(digest)
    return f"{number}:{digest}" if good else None


def _history(plant: Path, since: str = "") -> Iterator[tuple[bool, str]]:
    """Lines that commits (after ``since``) added to the kept heads (True) or took away (False), oldest first."""
    command = ["log", "--reverse", "--patch", "--format=", "--no-color", "--no-ext-diff", "--no-textconv", "--unified=0"]
    patches = git(plant, *command, *([f"{since}..HEAD"] if since else []), "--", FOLDER)
    for line in patches.splitlines():
        if line.startswith(("+{", "-{")):
            yield line[0] == "+", line[1:]

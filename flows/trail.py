"""The plant's audit trail: where it lies, and its head, kept where who can rewrite the trail cannot reach.

Each line of ``audit/<year>/<month>-<day>.jsonl`` in the plant's git repository is the head at one moment: time, number and
hash of the last event. One file a day keeps commits small. Push the repository elsewhere, and the history of the heads can
not be rewritten in silence.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data.errors import ChangeoverError
from data.files import write_text
from data.version import commit_files, plant_lock
from flows import locked_heads
from flows.plant import Plant
from registry import audit, trail_key
from registry.errors import Broken
from registry.events import GENESIS
from registry.names import is_digest
from registry.server import DATABASE

FOLDER = "audit"


@dataclass(frozen=True)
class KeptHeads:
    """Heads as ``registry.audit.verify`` takes them, and what is wrong with the places where they are kept."""

    heads: tuple[str, ...]
    problems: tuple[str, ...]


def database(plant: Plant) -> Path | str:
    """The database with the trail, as ``registry.audit`` takes it; it can be read while the server is down."""
    return plant.config.registry.database or plant.state / "mlflow" / DATABASE


def key_file(plant: Plant) -> Path:
    """The file with the key that seals the trail's events, as ``registry.audit.verify`` takes it."""
    return trail_key.key_file(plant.state / "mlflow")


def check_head(plant: Plant) -> None:
    """``Broken`` where the trail no longer contains the head that was kept last: promote nothing until it is explained."""
    _kept_last(plant)


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
    if plant.config.audit.s3 is not None:
        try:
            heads |= dict.fromkeys(locked_heads.listed(plant.config.audit.s3))
        except ChangeoverError as error:
            problems.append(str(error))
    return KeptHeads(tuple(heads), tuple(problems))


def _kept_last(plant: Plant) -> tuple[str | None, Path | None]:
    """The head that was kept last and its file, after a look whether the trail contains it."""
    files = sorted((plant.path / FOLDER).glob("*/*.jsonl"))
    if not files:
        return None, None
    lines = files[-1].read_text(encoding="utf-8", errors="replace").splitlines()
    head = _head(lines[-1]) if lines else None
    if head is None:
        raise Broken(f"{files[-1]} does not end with a head of the audit trail: it was edited; run 'changeover audit verify'")
    if lost := audit.lost_heads(database(plant), [head]):
        raise Broken(f"{lost[0]} (kept in {files[-1]}); promote nothing until it is explained: run 'changeover audit verify'")
    return head, files[-1]


def _head(line: str) -> str | None:
    try:
        found = json.loads(line)
        number, digest = found["number"], found["hash"]
    except (ValueError, KeyError, TypeError):
        return None
    good = type(number) is int and 0 <= number < 10**11 and is_digest(digest)
    return f"{number}:{digest}" if good else None


def _history(plant: Path) -> Iterator[tuple[bool, str]]:
    """Lines that commits added to the kept heads (True) or took away (False)."""
    command = ["git", "log", "--patch", "--format=", "--no-color", "--no-ext-diff", "--no-textconv", "--unified=0", "--", FOLDER]
    try:
        done = subprocess.run(command, cwd=plant, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ChangeoverError(f"git cannot be started in {plant} ({error.strerror}); install it") from error
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise ChangeoverError(f"the history of {plant} cannot be read ({told}); repair that and run again")
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(("+{", "-{")):
            yield line[0] == "+", line[1:]

"""Which plant this is: a random id, and the place that it was made for. A copy has the same id, and is found out by its place.

``.changeover/plant.json`` holds both. The place is the folder ``.changeover`` itself (its inode on its device), its path, and
the machine. Device numbers change when a machine starts again and an inode says nothing on another disk, so neither counts alone.
"""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from core.files import write_json
from flows.errors import CopiedPlant, PlantError
from flows.plant import Plant
from flows.serving.processes import ProcessMark

FILE = "plant.json"
PLANT_ID, PLANT_PATH = "CHANGEOVER_PLANT_ID", "CHANGEOVER_PLANT"
"""In the environment of a plant's servers: whose they are, and the path that the plant had when they were started."""
FIX = "run 'changeover adopt' to make it a plant of its own; 'changeover adopt --help' says what that means"
_MACHINE = Path("/etc/machine-id")


@dataclass(frozen=True)
class Place:
    """Where a plant lies. ``machine`` is "" where that is not known."""

    path: str
    inode: int
    device: int
    machine: str


@dataclass(frozen=True)
class Identity:
    """What the plant knows of itself. ``place`` is None in one that was restored and not adopted yet.

    ``outside``: what it wrote to outside of its folder when it was last started. ``restored``: of which backup it came.
    ``adopted``: the sentence that the audit trail has not recorded yet, or "".
    """

    id: str
    place: Place | None
    outside: dict[str, str]
    restored: str = ""
    adopted: str = ""

    @property
    def home(self) -> str:
        """The path that it was made for, for people."""
        return self.place.path if self.place else "another place"


def identity_of(plant: Plant) -> Identity | None:
    """The identity in the plant's folder; None before the first ``up``. PlantError where it cannot be read."""
    file = plant.state / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        place = Place(**found.pop("place")) if found["place"] else found.pop("place")
        known = Identity(place=place, **found)
        if not (isinstance(known.id, str) and len(known.id) == 32 and isinstance(known.outside, dict)):
            raise ValueError("it has no id")
        return known
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        fix = "take the file from a backup, or delete it and run 'changeover up', if you know that this is no copy"
        raise PlantError(f"{file} does not say which plant this is ({type(error).__name__}: {error}); {fix}") from error


def copied(plant: Plant) -> str:
    """In words, that this folder is a copy of a plant; "" where it is the plant itself, or a moved one."""
    known = identity_of(plant)
    return "" if known is None else _copied(plant, known)


def check_own(plant: Plant) -> None:
    """CopiedPlant where the plant is a copy: nothing of it may reach the original's servers, database or line."""
    if text := copied(plant):
        raise CopiedPlant(f"{text}; {FIX}")


def settled(plant: Plant) -> Identity:
    """The identity, made at the first call, with the place and what lies outside as they are now. CopiedPlant for a copy."""
    check_own(plant)
    known = identity_of(plant)
    if known is None:
        _check_unused(plant)
    plant.state.mkdir(exist_ok=True)
    now = Identity(secrets.token_hex(16), _place(plant), {}) if known is None else replace(known, place=_place(plant))
    now = replace(now, outside=outside(plant))
    if now != known:
        write_identity(plant, now)
    return now


def renewed(plant: Plant, sentence: str) -> Identity:
    """Another identity for a copy, at the place where it is; ``sentence`` is what the trail will record of it."""
    fresh = Identity(secrets.token_hex(16), _place(plant), outside(plant), adopted=sentence)
    write_identity(plant, fresh)
    return fresh


def write_identity(plant: Plant, identity: Identity) -> None:
    """Write it down, whole or not at all."""
    write_json(plant.state / FILE, asdict(identity))


def works_for(mark: ProcessMark, plant: Plant) -> bool:
    """Whether a living process is a server of this very plant, by what the process itself says: a record may be a copy.

    It works in the folder ``.changeover``, whatever that is called by now. One of an earlier version carries no id.
    """
    known = identity_of(plant)
    try:
        process = psutil.Process(mark.pid)
        whose, folder = process.environ().get(PLANT_ID), process.cwd()
    except psutil.AccessDenied:  # another account's
        return False
    except (psutil.Error, OSError):
        return True  # it is ending just now, and what it leaves behind is ours to end as well
    try:
        own = known is not None and whose == known.id
        return not folder or ((whose is None or own) and Path(folder).samefile(plant.state))
    except OSError:  # its folder was deleted
        return False


def started_here(mark: ProcessMark, plant: Plant) -> bool:
    """Whether a server of ours was started at the path where the plant lies now; else its databases are not where it looks."""
    try:
        return Path(psutil.Process(mark.pid).environ().get(PLANT_PATH) or plant.path).samefile(plant.path)
    except (psutil.Error, OSError):
        return False


def outside(plant: Plant) -> dict[str, str]:
    """What the plant's registry and line write to that no copy of its folder holds: setting and value."""
    found: dict[str, str] = {}
    if plant.config.registry.database:
        found["registry.database"] = plant.config.registry.database
    if plant.config.audit.s3:
        found["audit.s3"] = plant.config.audit.s3
    published = plant.publish.resolve()
    if not published.is_relative_to(plant.path.resolve()) or (
        published.exists() and published.stat().st_dev != plant.path.stat().st_dev
    ):
        found["storage.publish"] = str(published)
    return found


def _check_unused(plant: Plant) -> None:
    """PlantError for a clone of a plant's git repository, which has its settings and nothing else: no registry, keys or
    identity.

    Started, it would give production's services other passwords, and take every model that it does not know off the line.
    """
    if (plant.state / "mlflow" / "secrets").exists():  # of before there were identities
        return
    shared = outside(plant)
    used = []
    # Several plants may publish to one folder, each its own products.
    if "storage.publish" in shared and any((plant.publish / name / "current.json").exists() for name in plant.products()):
        used.append(f"storage.publish {shared['storage.publish']}")
    if database := shared.get("registry.database"):
        from flows.serving.database_copy import has_trail  # with SQLAlchemy, almost half of what starting a command takes

        if has_trail(database):
            used.append(f"registry.database {database}")
    if used:
        raise PlantError(
            f"{plant.path} was never up, but {' and '.join(used)} is used for its products already; give it its own in"
            " changeover.yaml, or bring that plant back with 'changeover restore'"
        )


def _copied(plant: Plant, known: Identity) -> str:
    if known.place is None:
        return f"{plant.path} was restored from a backup ({known.restored}) and is a copy until it is adopted"
    here, then = _place(plant), known.place
    if here.machine and then.machine and here.machine != then.machine:
        return f"{plant.path} is a copy: the plant was made on another machine"
    same_folder = (here.inode, here.device) == (then.inode, then.device)
    if here.path == then.path and here.inode == then.inode:
        return ""
    if same_folder and _gone_or_here(Path(then.path), here):
        return ""
    if here.path == then.path:
        return f"{plant.path} is a copy: the plant of this path was another folder"
    return f"{plant.path} is a copy of the plant at {then.path}"


def _gone_or_here(former: Path, here: Place) -> bool:
    """Whether nothing is left at the former place (it was moved), or the very same folder is (a mount, another spelling)."""
    try:
        facts = (former / ".changeover").stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return (facts.st_ino, facts.st_dev) == (here.inode, here.device)


def _place(plant: Plant) -> Place:
    facts = plant.state.stat()
    return Place(str(plant.path), facts.st_ino, facts.st_dev, _machine())


def _machine() -> str:
    """A digest of the machine's id, which is not to be told outside of it; "" where it has none."""
    try:
        text = _MACHINE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return hashlib.sha256(f"changeover {text}".encode()).hexdigest()[:16] if text else ""

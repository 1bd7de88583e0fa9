"""Which batch of a product is the newest: the one that was tagged last."""

from data.batch import BatchFolder
from data.repository import try_git
from flows.plant import Plant


def tagged_batches(plant: Plant) -> dict[str, tuple[str, int]]:
    """Commit and time (seconds since 1970) of each tag of a batch, by ``product/batch``."""
    form = "%(refname:strip=2) %(*objectname) %(*committerdate:unix)"  # of what an annotated tag stands for
    lines = (try_git(plant.path, "for-each-ref", f"--format={form}", "refs/tags") or "").splitlines()
    parts = [line.split(" ") for line in lines]
    return {tag: (commit, int(time)) for tag, commit, time in parts if commit and time}


def newest_batch(plant: Plant, product: str) -> BatchFolder | None:
    """The newest batch of ``product`` that has a record here; None where there is none. One without a tag is being worked on, and
    newer than those that have one; of equals the last by name counts."""
    tagged = tagged_batches(plant)
    names = [record.parent.name for record in (plant.path / "products" / product).glob("*/batch.yaml")]
    times = {name: tagged[f"{product}/{name}"][1] if f"{product}/{name}" in tagged else None for name in names}
    order = sorted(names, key=lambda name: (times[name] is None, times[name] or 0, name))
    return plant.batch(product, order[-1]) if order else None

"""Lineage: everything that a version rests on, and what became of it; plant files, registry and audit trail in one piece."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from data.checkout import commit_facts, file_at
from flows.plant import Plant
from flows.steps.fetch import fetch_metrics
from models.evaluation.metrics_file import Metrics, Training
from registry.client.connection import Connection
from registry.client.record import recorded
from registry.client.sign_off import SignOff, status_of
from registry.client.teachers import teachers
from registry.client.versions import Version, version_of
from registry.printable import printable
from registry.trail.events import Event

State = Literal["plain", "good", "bad", "open"]
UNKNOWN = "not on record"


@dataclass(frozen=True)
class Box:
    """One thing that a version rests on: what is known of it, line by line, and whether it speaks for the version."""

    key: str
    title: str
    facts: tuple[tuple[str, str], ...]
    state: State = "plain"


@dataclass(frozen=True)
class Lineage:
    """``boxes`` in the order in which they came about; ``arrows`` from what was used to what was made of it, by key."""

    product: str
    version: str
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: facts by box."""
        return {
            "product": self.product,
            "version": self.version,
            "boxes": {box.key: {"title": box.title, "state": box.state, "facts": dict(box.facts)} for box in self.boxes},
            "arrows": [list(arrow) for arrow in self.arrows],
        }

    def as_text(self) -> str:
        """A tree for a terminal."""
        lines = [f"{self.product}, version {self.version}"]
        for number, box in enumerate(self.boxes):
            last = number == len(self.boxes) - 1
            lines.append(f"{'└' if last else '├'}── {box.title}")
            for place, (name, value) in enumerate(box.facts):
                twig = "└" if place == len(box.facts) - 1 else "├"
                lines.append(f"{' ' if last else '│'}   {twig}── {printable(name)}: {printable(' '.join(value.split()))}")
        return "\n".join(lines)


ARROWS = (
    ("images", "validation"), ("validation", "defects"), ("images", "training"), ("defects", "study"), ("study", "training"),
    ("teacher", "training"), ("machine", "training"), ("training", "model"), ("model", "gates"), ("gates", "version"),
    ("version", "sign-off"), ("sign-off", "aliases"), ("aliases", "published"),
)  # fmt: skip


def lineage(plant: Plant, connection: Connection, product: str, version: str | int) -> Lineage:
    """Everything on record about ``version``. What is missing is said so; NotFound where there is no such version."""
    known = version_of(connection, product, version)
    metrics = fetch_metrics(connection, known)
    training = metrics.training
    events = [event for event in recorded(connection, product) if event.version == known.version and event.allowed]
    boxes = (
        _images(plant, known, metrics.images),
        _validation(plant, known),
        _defects(plant, known, metrics),
        _study(metrics),
        _teacher(connection, training),
        _training(training),
        _machine(metrics, training),
        _model(known, metrics),
        _gates(metrics),
        _version(known),
        _sign_off(status_of(connection, known)),
        _aliases(known, events),
        _published(events),
    )
    return Lineage(product, known.version, boxes, ARROWS)


def _images(plant: Plant, known: Version, counts: Mapping[str, int]) -> Box:
    git = commit_facts(plant.path, known.commit, f"{known.product}/{known.batch}")
    pointer = _object(_yaml_at(plant, known, "good.dvc"))
    out = _object((pointer.get("outs") or [{}])[0])
    return Box("images", "Images", (
        ("batch", known.batch),
        ("good images", f"{sum(counts.values())}: {', '.join(f'{n} {use}' for use, n in counts.items())}" if counts else UNKNOWN),
        ("digest", known.images or UNKNOWN),
        ("DVC pointer", f"{out.get('md5')}, {out.get('nfiles')} files, {out.get('size')} bytes" if out else UNKNOWN),
        ("git tag", git.tag or "none in this plant"),
        ("git commit", f"{known.commit}, {git.made}" if git.made else f"{known.commit}, not in this plant's git"),
    ))  # fmt: skip


def _validation(plant: Plant, known: Version) -> Box:
    found = _object(_yaml_at(plant, known, "validation.json"))
    checks = [_object(check) for check in found.get("checks", ())]
    failed = [f"{check.get('name')} ({check.get('severity')})" for check in checks if not check.get("passed")]
    if not found:
        return Box("validation", "Validation", (("verdict", UNKNOWN),), "open")
    facts = (
        ("verdict", "passed" if found.get("passed") else "failed"),
        ("checks", str(len(checks))),
        ("failed", ", ".join(failed) or "none"),
    )
    return Box("validation", "Validation", facts, "good" if found.get("passed") else "bad")


def _defects(plant: Plant, known: Version, metrics: Metrics) -> Box:
    from data.defects.recipe import Recipe

    params = _object(_yaml_at(plant, known, "params.yaml"))
    lock = _object(_yaml_at(plant, known, "dvc.lock"))
    outs = _object(_object(lock.get("stages")).get("regenerate")).get("outs") or [{}]
    try:
        digest = Recipe.model_validate(params.get("recipe") or {}).digest() if params else UNKNOWN
    except ValueError:
        digest = "of an older Changeover, which this one cannot read"
    return Box("defects", "Pseudo-defects", (
        ("recipe digest", digest),
        ("held-out families", ", ".join(metrics.families) or UNKNOWN),
        ("DVC output", str(outs[0].get("md5") or UNKNOWN)),
        ("seed", _known(metrics.seed)),
    ))  # fmt: skip


def _study(metrics: Metrics) -> Box:
    chosen = ", ".join(f"{key} {value}" for key, value in sorted(metrics.study.best.items()))
    facts = (("trials", _known(metrics.study.trials)), ("choice", chosen or UNKNOWN), ("preset", metrics.preset or UNKNOWN))
    return Box("study", "Study", facts)


def _teacher(connection: Connection, training: Training) -> Box:
    card = training.teacher
    if not card:
        return Box("teacher", "Teacher", (("teacher", teacher_line(training)),))
    found = next((one.version for one in teachers(connection) if one.digest == card.get("digest")), "no longer in the registry")
    return Box("teacher", "Teacher", (
        ("name", str(card.get("name", UNKNOWN))),
        ("version", found),
        ("network", str(_object(card.get("settings")).get("backbone", "patch networks"))),
        ("source", str(card.get("source", UNKNOWN))),
        ("origin", str(card.get("origin", UNKNOWN))),
        ("licence", str(card.get("licence", UNKNOWN))),
        ("digest", str(card.get("digest", UNKNOWN))),
    ))  # fmt: skip


def teacher_line(training: Training) -> str:
    """Its teacher in one line."""
    card = training.teacher
    return f"{card.get('name')} ({card.get('source')}), digest {card.get('digest')}" if card else "none: random features"


def start_line(training: Training) -> str:
    """What its networks started from, in one line."""
    start = training.warm_start
    if start is None or start.version is None:
        return "no earlier version"
    return f"version {start.version} of {start.product}, weights {start.weights_digest}"


def _training(training: Training) -> Box:
    facts = [("started from", start_line(training))]
    for number, one in enumerate(training.networks, 1):
        text = f"{one.steps_text}, {one.threads} threads, {one.device}, {one.seconds:.0f} s, ended by {one.ended_by}"
        facts.append((f"network {number}", f"{text}, started warm" if one.warm else text))
    facts.append(("seed", _known(training.seed)))
    facts.append(("weights digest", training.weights_digest or UNKNOWN))
    return Box("training", "Training", tuple(facts))


def _machine(metrics: Metrics, training: Training) -> Box:
    machine = training.environment or metrics.environment
    packages = ", ".join(f"{name} {version}" for name, version in training.packages.items())
    recorded = ("cpu", "instructions", "device", "python", "changeover", "code")
    facts = (*((key, machine[key]) for key in recorded if key in machine), ("packages", packages or UNKNOWN))
    return Box("machine", "Machine and code", facts)


def _model(known: Version, metrics: Metrics) -> Box:
    return Box("model", "Model file", (
        ("digest", known.digest or UNKNOWN),
        ("threshold", UNKNOWN if known.threshold is None else f"{known.threshold:.6g}"),
        ("overkill", f"{metrics.overkill.count} of {metrics.overkill.n}"),
        ("escape", f"{metrics.escape.count} of {metrics.escape.n}"),
        ("image AUROC", str(metrics.image_auroc)),
        ("pixel AP", str(metrics.pixel_ap)),
        ("logged model", known.model_id or UNKNOWN),
    ))  # fmt: skip


def _gates(metrics: Metrics) -> Box:
    facts = tuple((gate.name, "passed" if gate.passed else f"failed: {gate.text}") for gate in metrics.gates)
    return Box("gates", "Gates", facts or (("gates", UNKNOWN),), "good" if metrics.passed else "bad")


def _version(known: Version) -> Box:
    return Box("version", "Version", (
        ("registered", known.created.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("run", known.run_id or UNKNOWN),
        ("aliases now", ", ".join(known.aliases) or "none"),
    ))  # fmt: skip


def _sign_off(signed: SignOff) -> Box:
    if signed.decision == "pending":
        return Box("sign-off", "Sign-off", (("decision", "pending"),), "open")
    facts = [("decision", signed.decision), ("by", signed.by or UNKNOWN), ("at", signed.at or UNKNOWN), ("reason", signed.reason)]
    facts.append(("holds", "yes" if signed.valid else f"no: {signed.problem}"))
    return Box("sign-off", "Sign-off", tuple(facts), "good" if signed.valid else "bad")


def _aliases(known: Version, events: list[Event]) -> Box:
    moved = [_event_line(event, f"{_MOVES[event.action]} {event.subject}") for event in events if event.action in _MOVES]
    return Box(
        "aliases", "Alias history", tuple(moved) or (("so far", "none"),), "good" if "champion" in known.aliases else "plain"
    )


def _published(events: list[Event]) -> Box:
    facts = [_event_line(event, f"{_EFFECTS[event.action]} {event.subject}") for event in events if event.action in _EFFECTS]
    return Box("published", "Published and rebuilt", tuple(facts) or (("so far", "neither published nor rebuilt"),))


_MOVES = {"alias.set": "becomes", "alias.delete": "is no longer"}
_EFFECTS = {"publish": "published to", "retract": "taken back from", "rebuild": "rebuilt:"}


def _event_line(event: Event, effect: str) -> tuple[str, str]:
    """An event by its number on the trail."""
    return f"event {event.seq}", f"{event.time:%Y-%m-%d %H:%M:%S} UTC {effect}, by {event.actor}"


def _known(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _yaml_at(plant: Plant, known: Version, name: str) -> Any:
    """A record of the batch as the version's commit holds it; None where it is not there or not readable."""
    text = file_at(plant.path, known.commit, known.product, known.batch, name)
    try:
        return None if text is None else json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}

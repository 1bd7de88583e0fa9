"""What is laid beside a batch before it is trained: a teacher, and a champion to start from; and that it stays what it was."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from core.errors import BadBatch, BadModel, ChangeoverError
from core.files import file_digest, write_json, write_text
from data.batch import BatchRecord
from data.checkout import pulled
from data.repository import dvc, git
from data.version import commit_files
from flows.errors import PlantError
from flows.plant import Plant
from flows.serving.services import connect_as
from flows.steps import decide as steps
from flows.steps import set_up as room
from flows.steps.decide import decide
from flows.steps.job import Job, make_job
from flows.steps.set_up import is_set_up, restore_set_up, set_up, teacher_at_hand
from flows.teachers import teacher as registering
from models.teachers.imagenet import PACKAGES
from models.teachers.teacher_file import read_teacher, write_teacher
from registry.client.connection import Connection
from registry.client.teachers import TeacherVersion, register_teacher
from registry.client.versions import Version
from registry.errors import NotFound
from tests.metrics_of_a_version import metrics_with

NOWHERE = Connection("http://127.0.0.1:9", "trainer", "")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Records:
    """A registry in memory, in the place of the functions that ask the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.teachers = folder, list[TeacherVersion]()
        self.champions: dict[str, Version] = {}
        self.training: dict[str, object] = {}

    def add(self, name: str, licence: str = "any") -> TeacherVersion:
        """A new version of a teacher, with weights of its own."""
        number = 1 + sum(one.name == name for one in self.teachers)
        place = self.folder / name / str(number)
        card = write_teacher(
            place, {"weights": torch.tensor([float(number)])}, name=name, kind="features", settings={"backbone": "resnet10t"},
            source="imported", origin="a disk", licence=licence,
        )  # fmt: skip
        made = TeacherVersion(
            name=name, version=str(number), digest=card.digest, card=file_digest(place / "teacher.json"), source=card.source,
            licence=licence, origin=card.origin, network="resnet10t", created=NOW, run_id="", model_id="",
        )  # fmt: skip
        self.teachers.insert(0, made)
        return made

    def of(self, connection: Connection, name: str, version: str | None = None) -> TeacherVersion:
        for one in self.teachers:
            if one.name == name and version in (None, one.version):
                return one
        raise NotFound(f"no teacher {name!r} {version or ''} is registered")

    def register(self, connection: Connection, folder: Path) -> TeacherVersion:
        card = json.loads((folder / "teacher.json").read_text())
        made = self.add(card["name"])
        shutil.copytree(folder, self.folder / made.name / made.version, dirs_exist_ok=True)
        digest, backbone = file_digest(folder / "teacher.json"), card["settings"]["backbone"]
        self.teachers[0] = replace(made, digest=card["digest"], card=digest, network=backbone)
        return self.teachers[0]

    def download(self, connection: Connection, teacher: TeacherVersion, target: Path) -> Path:
        return Path(shutil.copytree(self.folder / teacher.name / teacher.version, target))

    def version(self, connection: Connection, product: str, version: str) -> Version:
        found = self.champions.get(product)
        if found is None or found.version != version:
            raise NotFound(f"{product} has no version {version}")
        return found


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    made = Records(tmp_path / "records")
    monkeypatch.setattr(room, "teachers", lambda connection: list(made.teachers))
    monkeypatch.setattr(room, "teacher_of", made.of)
    monkeypatch.setattr(room, "download_teacher", made.download)
    monkeypatch.setattr(registering, "register_teacher", made.register)
    monkeypatch.setattr(room, "champion", lambda connection, product: made.champions.get(product))
    monkeypatch.setattr(room, "version_of", made.version)
    monkeypatch.setattr(room, "fetch_metrics", lambda connection, version: metrics_with(training=made.training))
    return made


MakeJob = Callable[..., Job]


@pytest.fixture
def order(plant: Plant, tmp_path: Path) -> MakeJob:
    """``order(settings="", **arguments)``: a job for bolt b1 in the plant with these lines in its ``changeover.yaml``."""
    (tmp_path / "images").mkdir()

    def make(settings: str = "", batch: str = "b1", **arguments: str) -> Job:
        write_text(plant.path / "changeover.yaml", settings)
        return make_job(Plant.open(plant.path), "bolt", batch, str(tmp_path / "images"), **arguments)

    return make


def laid(job: Job, name: str) -> dict[str, object]:
    found = json.loads(job.folder.file(name).read_text())
    assert isinstance(found, dict)
    return found


def test_a_plant_without_a_teacher_of_its_own_gets_imagenet_once(records: Records, order: MakeJob) -> None:
    first, second = order(), order(batch="b2")
    assert set_up(first, NOWHERE) == "teacher imagenet, version 1 (tf_efficientnet_lite0, imported)"
    assert laid(first, "teacher/teacher.json")["licence"] == "Apache-2.0"
    assert set_up(second, NOWHERE) == set_up(first, NOWHERE) and len(records.teachers) == 1
    records.add("plant")
    assert set_up(second, NOWHERE) == "teacher plant, version 1 (resnet10t, imported)"


def test_what_is_not_there_is_said_and_laid_as_such(records: Records, order: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "efficientnet-lite0", "a-package-that-nobody-has")
    job = order()
    told = set_up(job, NOWHERE)
    assert told == "neither teacher 'plant' nor 'imagenet' on record: detectors start from random features"
    assert (laid(job, "teacher/teacher.json"), laid(job, "warm/warm.json")) == ({"digest": None}, {"version": None})
    assert is_set_up(job.folder) and read_teacher(job.folder.file("teacher")) is None
    restore_set_up(job.plant, job.folder, NOWHERE)


def test_the_newest_teacher_is_laid_whole(records: Records, order: MakeJob) -> None:
    records.add("plant")
    newest, job = records.add("plant"), order()
    assert set_up(job, NOWHERE) == "teacher plant, version 2 (resnet10t, imported)"
    found = read_teacher(job.folder.file("teacher"))
    assert found is not None and found.card.digest == newest.digest and found.weights["weights"].item() == 2
    # Again, and by another name for the same weights: the card beside them is the one that was asked for.
    set_up(job, NOWHERE)
    same = shutil.copytree(records.folder / "plant" / "2", records.folder / "gear" / "1")
    write_json(same / "teacher.json", found.card.model_copy(update={"name": "gear", "licence": "none"}).model_dump(mode="json"))
    records.teachers.append(replace(newest, name="gear", version="1", card=file_digest(same / "teacher.json")))
    job = order("teacher: gear\n")
    set_up(job, NOWHERE)
    again = read_teacher(job.folder.file("teacher"))
    assert again is not None and (again.card.name, again.card.licence) == ("gear", "none")
    assert not [file for file in job.folder.file("teacher").iterdir() if file.name.startswith(".")]
    set_up(order("teacher: none\n"), NOWHERE)
    assert [file.name for file in job.folder.file("teacher").iterdir()] == ["teacher.json"]


def test_a_pinned_version_is_that_one_or_an_error(records: Records, order: MakeJob) -> None:
    first = records.add("plant")
    records.add("plant")
    job = order("teacher: plant@1\n")
    set_up(job, NOWHERE)
    assert laid(job, "teacher/teacher.json")["digest"] == first.digest
    with pytest.raises(NotFound, match="'plant' 3"):
        set_up(order("teacher: plant@3\n", "b2"), NOWHERE)
    assert not is_set_up(order(batch="b2").folder)
    assert "neither teacher 'gear' nor 'imagenet' on record" in teacher_at_hand(order("teacher: gear\n").plant, NOWHERE)[1]
    assert "as changeover.yaml says" in teacher_at_hand(order("teacher: none\n").plant, NOWHERE)[1]


def test_files_of_another_digest_are_refused(records: Records, order: MakeJob) -> None:
    teacher, job = records.add("plant"), order()
    weights = records.folder / "plant" / "1" / "teacher.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right + b"\0")
    with pytest.raises(BadModel, match=f"not those on record .digest {teacher.digest[:12]}"):
        set_up(job, NOWHERE)
    assert not is_set_up(job.folder)
    weights.write_bytes(right)
    set_up(job, NOWHERE)
    # A cache that was changed afterwards is not believed either.
    (job.plant.state / "teachers" / "cache" / teacher.digest / "teacher.safetensors").write_bytes(b"")
    other = order(batch="b2")
    set_up(other, NOWHERE)
    assert file_digest(other.folder.file("teacher") / "teacher.safetensors") == teacher.digest


def test_the_large_file_comes_back_from_cache_or_registry(records: Records, order: MakeJob) -> None:
    records.add("plant")
    job = order()
    set_up(job, NOWHERE)
    features = job.folder.file("teacher") / "teacher.safetensors"
    whole = features.read_bytes()
    records.add("plant")
    records.teachers, kept = [], records.teachers
    features.unlink()
    restore_set_up(job.plant, job.folder, NOWHERE)  # the cache is enough
    assert features.read_bytes() == whole
    records.teachers = kept
    features.write_bytes(b"")  # and the cache with it: they are one file
    restore_set_up(job.plant, job.folder, NOWHERE)
    assert features.read_bytes() == whole
    shutil.rmtree(job.plant.state / "teachers")
    features.unlink()
    restore_set_up(job.plant, job.folder, NOWHERE)
    assert features.read_bytes() == whole
    shutil.rmtree(job.plant.state / "teachers")
    features.unlink()
    records.teachers = records.teachers[:1]
    with pytest.raises(PlantError, match="neither in the registry nor in the plant's cache"):
        restore_set_up(job.plant, job.folder, NOWHERE)
    write_json(job.folder.file("teacher") / "teacher.json", {"digest": "../../x"})
    with pytest.raises(BadBatch, match="no digest to check by"):
        restore_set_up(job.plant, job.folder, NOWHERE)


@pytest.fixture
def champion(plant: Plant, records: Records, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Version 4 of nut is its champion: ``model/`` of its batch is in the store and in git, and nowhere else."""
    folder = plant.batch("nut", "a")
    model = folder.file("model")
    model.mkdir(parents=True)
    (model / "weights.pt").write_bytes(b"what was learned")
    records.training = {"weights_digest": file_digest(model / "weights.pt"), "detector": "stpm"}
    write_json(model / "training.json", records.training)
    write_text(folder.file("batch.yaml"), "product: nut\n")
    dvc(folder.path, "add", "--quiet", "model")
    pointer = folder.file("model.dvc").read_text()
    dvc(folder.path, "push", "--quiet", "model.dvc")
    digest = next(line.split()[-1] for line in pointer.splitlines() if "md5: " in line)
    write_text(folder.file("dvc.lock"), f"stages: {{train: {{outs: [{{path: model, md5: {digest}}}]}}}}\n")
    commit = commit_files(plant.path, [folder.file("dvc.lock"), folder.file("batch.yaml")], "Train nut a")
    for left in (folder.path, plant.path / ".dvc" / "cache"):
        shutil.rmtree(left)
    made = Version("nut", "4", "a", "ab" * 32, "cd" * 32, commit, "passed", "approved", ("champion",), 0.5, NOW, "", "", {})
    records.champions["nut"] = made
    return made


def test_a_champion_is_laid_to_start_from(records: Records, order: MakeJob, champion: Version) -> None:
    job = order("products: {nut: {}}\n", warm_start="nut")
    assert set_up(job, NOWHERE).endswith("starts warm from version 4 of nut")
    pinned = {"product": "nut", "version": "4", "weights_digest": records.training["weights_digest"]}
    assert laid(job, "warm/warm.json") == pinned and laid(job, "warm/training.json") == records.training
    weights = job.folder.file("warm") / "weights.pt"
    assert weights.read_bytes() == b"what was learned"
    assert [place.name for place in job.plant.state.iterdir() if place.name.startswith("pulled-")] == []

    # A clone gets it from the store, at the commit of the version that is pinned; a newer champion changes nothing.
    weights.unlink()
    restore_set_up(job.plant, job.folder, NOWHERE)
    assert weights.read_bytes() == b"what was learned"

    # Weights that lie about are taken only where they are those on record.
    near = job.plant.batch("nut", "a").file("model")
    near.mkdir(parents=True)
    (near / "weights.pt").write_bytes(b"of another training")
    write_json(near / "training.json", records.training)
    set_up(job, NOWHERE)
    assert weights.read_bytes() == b"what was learned"

    store = next(file for file in (job.plant.state / "store").rglob("*") if file.is_file() and b"learned" in file.read_bytes())
    store.chmod(0o644)
    store.write_bytes(b"poison")
    weights.unlink()
    with pytest.raises(ChangeoverError, match=r"'dvc pull' failed|not those on record"):
        restore_set_up(job.plant, job.folder, NOWHERE)
    assert not weights.exists()
    records.champions["nut"] = replace(champion, version="5")
    with pytest.raises(NotFound, match="nut has no version 4"):
        restore_set_up(job.plant, job.folder, NOWHERE)
    with (
        pytest.raises(ChangeoverError, match="git has no record of report"),
        pulled(job.plant.path, champion.commit, "nut", "a", "report"),
    ):
        pass


def test_a_start_that_is_not_to_be_had_is_said(records: Records, order: MakeJob, plant: Plant) -> None:
    job = order(warm_start="same")
    assert set_up(job, NOWHERE).endswith("no warm start: bolt has no champion yet")
    here = Version("bolt", "2", "b1", "ab" * 32, "cd" * 32, "0" * 40, "passed", "approved", ("champion",), 0.5, NOW, "", "", {})
    records.champions["bolt"] = here
    assert set_up(job, NOWHERE).endswith("no warm start: champion 2 of bolt has no digest of its weights on record")
    records.training = {"weights_digest": "12" * 32}
    assert "champion 2 comes from this very batch" in set_up(job, NOWHERE)
    assert laid(job, "warm/warm.json") == {"version": None}


def test_who_to_start_from_is_part_of_the_order(order: MakeJob) -> None:
    plain = order()
    assert "set_up" not in plain.params() and plain.order.warm_start is None
    assert order(warm_start="same").params()["set_up"] == {"warm_start": "bolt"}
    both = order("teacher: gear\nproducts: {bolt: {warm_start: nut}, nut: {}}\n")
    assert both.params()["set_up"] == {"teacher": "gear", "warm_start": "nut"}
    assert len({job.params_digest() for job in (plain, order(warm_start="same"), both)}) == 3
    with pytest.raises(PlantError, match=r"warm start from 'screw', which is no product of .*; give one of same, nut") as error:
        order("products: {nut: {}}\n", warm_start="screw")
    assert "\n" not in str(error.value)


def test_what_is_on_record_stands(records: Records, order: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the step itself: a newer teacher changes nothing for these images and this order, another order does."""
    monkeypatch.setattr(steps, "connect_as", lambda plant, service: NOWHERE)
    monkeypatch.setattr(steps, "champion_of", lambda connection, product: None)
    first, job = records.add("plant"), order()
    job.folder.path.mkdir(parents=True)
    job.folder.write_record(BatchRecord(product="bolt", batch="b1", digest="ab" * 32, images=()))
    decided = decide(job)
    assert decided.set_up == "teacher plant, version 1 (resnet10t, imported)"
    newer = records.add("plant")
    assert decide(job) == decided and laid(job, "teacher/teacher.json")["digest"] == first.digest
    (job.folder.file("teacher") / "teacher.safetensors").unlink()
    assert decide(job) == decided and file_digest(job.folder.file("teacher") / "teacher.safetensors") == first.digest
    other = order(budget="50s")
    assert "version 2" in decide(other).set_up and laid(other, "teacher/teacher.json")["digest"] == newer.digest

    # A batch that an older Changeover decided has neither folder: it keeps its decision and is set up now.
    shutil.rmtree(other.folder.file("teacher"))
    old = laid(other, "decision.json")
    write_json(other.folder.file("decision.json"), {key: old[key] for key in old if key != "set_up"})
    assert "version 2" in decide(other).set_up and is_set_up(other.folder) and laid(other, "decision.json") == old


@pytest.mark.servers
def test_a_real_registry_gives_what_was_registered(running: Plant, tmp_path: Path) -> None:
    write_teacher(
        tmp_path / "made", {"weights": torch.ones(3)}, name="set-up", kind="features", settings={"backbone": "resnet10t"},
        source="self-supervised", origin="images of bolt", licence="the plant's own",
    )  # fmt: skip
    connection = connect_as(running, "trainer")
    known = register_teacher(connection, tmp_path / "made")
    (tmp_path / "images").mkdir()
    place = replace(running, config=running.config.model_copy(update={"teacher": "set-up"}))
    job = make_job(place, "teachable", "b1", str(tmp_path / "images"))
    try:
        assert set_up(job, connection) == f"teacher set-up, version {known.version} (resnet10t, self-supervised)"
        for name in ("teacher.safetensors", "teacher.json"):
            assert (job.folder.file("teacher") / name).read_bytes() == (tmp_path / "made" / name).read_bytes()
        (job.folder.file("teacher") / "teacher.safetensors").unlink()
        shutil.rmtree(running.state / "teachers" / "cache")
        restore_set_up(place, job.folder, connection)
        assert read_teacher(job.folder.file("teacher")) is not None
        with pytest.raises(NotFound, match="version 7"):
            teacher_at_hand(replace(running, config=running.config.model_copy(update={"teacher": "set-up@7"})), connection)
    finally:
        shutil.rmtree(job.folder.path.parent)


def test_a_plant_of_before_never_commits_the_large_files(records: Records, order: MakeJob) -> None:
    records.add("plant")
    job = order()
    ignore = job.plant.path / ".gitignore"
    write_text(ignore, "/.changeover/\n")
    set_up(job, NOWHERE)
    commit_files(job.plant.path, [job.folder.path], "Train bolt b1")
    assert git(job.plant.path, "ls-files", "products").splitlines() == [
        f"products/bolt/b1/{name}" for name in ("teacher/teacher.json", "warm/warm.json")
    ]
    assert git(job.plant.path, "status", "--porcelain", "--", ".gitignore") == ""

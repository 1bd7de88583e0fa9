"""A version trained again from its record, in another clone of the plant: bit for bit the same."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from core.errors import ChangeoverError
from data.dvc_settings import set_remote
from flows.plant import Plant
from flows.records.rebuild import rebuild
from flows.records.trail import database
from flows.serving.identity import identity_of
from flows.serving.servers import free_port, server_status
from flows.serving.services import connect_as, connect_as_person
from flows.steps.job import make_job
from flows.steps.set_up import set_up
from flows.upkeep.restore import Changed, restore
from models.training.warm_start import read_warm_start
from registry.client.record import recorded
from registry.client.users import add_user, change_password
from registry.client.versions import Version, register, versions
from registry.signature import Publisher
from registry.trail import audit
from tests.flows.test_changeover import PASSWORD, changeover
from tests.registry.conftest import request_for
from tests.registry.test_signature import lay
from tests.small_sample import write_small_sample

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LONG = bool(os.environ.get("CHANGEOVER_LONG_TESTS"))
PRODUCT = "disc"


def quiet(part: str, share: float | None) -> None:
    """Tells nobody."""


def run(folder: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def version(running: Plant) -> Version:
    folder = running.path / ".changeover" / "sample-disc"
    write_small_sample(folder, 18, 1, 1)
    arguments = ("--product", PRODUCT, "--batch", "b1", "--images", str(folder / "good"), "--budget", "10s")
    changeover(running, "run", *arguments)
    return versions(connect_as(running, "trainer"), PRODUCT)[0]


@pytest.fixture(scope="module")
def clone(running: Plant, version: Version, tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """What another machine would have: the plant's git, and the address of its store."""
    path = tmp_path_factory.mktemp("clone") / "plant"
    run(running.path, "git", "clone", "--quiet", str(running.path), str(path))
    store = str(running.state / "store")
    set_remote(path / ".dvc" / "config.local", "store", store)
    return Plant.open(path)


def test_a_version_rebuilds_bit_for_bit_in_a_fresh_clone(
    running: Plant, version: Version, clone: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(running.state / "host.lock"))
    connection = connect_as(running, "trainer")
    done = rebuild(clone, connection, PRODUCT, version.version, quiet)
    told = "\n".join(map(str, (*done.rows, *done.explained)))
    assert done.outcome == "identical", told
    assert {row.result for row in done.rows} == {"same"} and done.explained == () and done.remarks == (), told
    assert {"weights", "model file", "threshold", "verdicts, test images", "exam defects"} <= {row.what for row in done.rows}
    events = [event for event in recorded(connection, PRODUCT) if event.action == "rebuild"]
    assert [(e.version, e.digest, e.subject, e.allowed) for e in events] == [("1", version.digest, "identical", True)]
    assert_untouched(clone)


def assert_untouched(clone: Plant) -> None:
    """Nothing is left of a rebuild, and nothing of the plant was used for it."""
    assert len(run(clone.path, "git", "worktree", "list").splitlines()) == 1
    assert run(clone.path, "git", "status", "--porcelain") == ""
    assert list((clone.state / "rebuild").iterdir()) == []
    assert not (clone.batch(PRODUCT, "b1").good).exists() and not (clone.path / ".dvc" / "cache" / "files").exists()


@pytest.mark.skipif(not LONG, reason="takes minutes: CHANGEOVER_LONG_TESTS=1 make test")
def test_a_restored_plant_works_beside_its_original_which_never_notices(
    running: Plant, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore drill: another path, other ports; signs, promotes, inspects, rebuilds bit for bit.

    tests/flows/test_backup.py has it on PostgreSQL, with a plant that was destroyed.
    """
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(running.state / "host.lock"))
    changeover(running, "backup", tmp_path / "backup")
    ports = [free_port(26100 + os.getpid() % 5000)]
    ports.append(free_port(ports[0] + 1))
    back = Plant.open(restore(tmp_path / "backup", tmp_path / "elsewhere", Changed(*ports), lambda text: None)[0])
    assert "run 'changeover adopt'" in changeover(back, "up", code=2).stderr

    before = what_is_seen(running)
    hidden = [(place, place.with_name(f"{place.name} hidden")) for place in (running.state / "store", running.path / ".dvc")]
    try:
        changeover(back, "adopt")
        changeover(back, "up")
        assert [server.port for server in server_status(back).values()] == ports
        assert "the trail holds" in changeover(back, "audit", "verify").stdout
        assert "adopt" in changeover(back, "audit", "list", "--action", "adopt").stdout
        trainer = connect_as(back, "trainer")
        for place, aside in hidden:  # nothing of the original is at hand
            place.rename(aside)
        told = json.loads(changeover(back, "rebuild", PRODUCT, version.version, "--json").stdout)
        assert told["outcome"] == "identical", told

        add_user(connect_as(back, "admin"), "drill", "first horse battery", "qa")
        change_password(connect_as_person(back, "drill", "first horse battery"), PASSWORD)
        approve = ("--version", version.version, "--approve", "--reason", "fine", "--user", "drill")
        if version.gates != "passed":  # trained for seconds: what is signed here is a model of the tests
            register(trainer, request_for(tmp_path, PRODUCT, "b9"))
            approve = ("--version", 2, *approve[2:])
        changeover(back, "sign-off", "--product", PRODUCT, *approve)
        changeover(back, "promote", "--product", PRODUCT)
        line = ("--published", back.publish, "--publisher", back.publish / PRODUCT / "publisher.pub")
        if version.gates == "passed":
            images = running.state / "sample-disc" / "good"
            assert json.loads(changeover(back, "inspect", images, "--product", PRODUCT, *line, "--json").stdout)["images"]
        assert "heads that were kept agree" in changeover(back, "audit", "verify").stdout
    finally:
        for place, aside in hidden:
            if aside.exists():
                aside.rename(place)
        changeover(back, "down")
    assert what_is_seen(running) == before
    assert "the trail holds" in changeover(running, "audit", "verify").stdout


def what_is_seen(plant: Plant) -> dict[str, object]:
    """Of a plant at work, what another must not touch."""
    published = sorted((str(path), path.stat().st_mtime_ns) for path in plant.publish.rglob("*"))
    servers = {server.name: (server.mark, server.port, server.running) for server in server_status(plant).values()}
    return {
        "servers": servers,
        "published": published,
        "trail": audit.head(database(plant)),
        "git": run(plant.path, "git", "rev-parse", "HEAD"),
        "changes": run(plant.path, "git", "status", "--porcelain"),
        "identity": identity_of(plant),
    }


def test_a_store_with_other_images_is_refused(running: Plant, version: Version, clone: Plant) -> None:
    pointer = (clone.batch(PRODUCT, "b1").file("good.dvc")).read_text()
    listed = pointer.partition("md5: ")[2][:32]
    entries = json.loads((running.state / "store" / "files" / "md5" / listed[:2] / f"{listed[2:]}.dir").read_text())
    file = running.state / "store" / "files" / "md5" / entries[0]["md5"][:2] / entries[0]["md5"][2:]
    content, mode = file.read_bytes(), file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(content + b"more")
    try:
        with pytest.raises(ChangeoverError, match=r"not those on record|'dvc (fetch|checkout)' failed"):
            rebuild(clone, connect_as(running, "trainer"), PRODUCT, version.version, quiet)
    finally:
        file.write_bytes(content)
        file.chmod(mode)
    assert_untouched(clone)


def test_a_commit_that_is_not_there(running: Plant, version: Version, tmp_path: Path) -> None:
    bare = Plant.init(tmp_path / "plant")
    with pytest.raises(ChangeoverError, match="fetch it with 'git fetch' first"):
        rebuild(bare, connect_as(running, "trainer"), PRODUCT, version.version, quiet)
    last = recorded(connect_as(running, "trainer"), PRODUCT)[-1]  # that it was tried, and why it failed
    assert (last.action, last.version, last.subject) == ("rebuild", version.version, "failed")
    assert "fetch it with 'git fetch' first" in last.reason


def test_its_lineage_names_everything(running: Plant, version: Version, tmp_path: Path) -> None:
    drawn = tmp_path / "lineage.svg"
    told = json.loads(changeover(running, "lineage", PRODUCT, 1, "--json", "--picture", drawn).stdout)
    boxes = {key: box["facts"] for key, box in told["boxes"].items()}
    record = running.batch(PRODUCT, "b1").read_record()
    assert boxes["images"]["digest"] == record.digest and boxes["images"]["good images"].startswith(f"{len(record.images)}: ")
    assert boxes["images"]["git tag"].startswith(f"{PRODUCT}/b1 at ") and boxes["images"]["git commit"].startswith(version.commit)
    assert boxes["model"]["digest"] == version.digest and boxes["version"]["run"] == version.run_id
    assert boxes["validation"]["verdict"] == "passed" and told["boxes"]["sign-off"]["state"] == "open"
    index = json.loads((running.batch(PRODUCT, "b1").file("defects") / "index.json").read_text())
    assert boxes["defects"]["recipe digest"] == index["recipe_digest"]
    moved = [text for text in boxes["aliases"].values() if "becomes candidate, by trainer" in text]
    assert len(moved) == (version.gates == "passed")  # what is trained for seconds may fail its gates
    assert any("rebuilt: identical, by trainer" in text for text in boxes["published"].values())
    assert not [fact for facts in boxes.values() for fact in facts.values() if fact == "not on record"]
    assert version.digest in drawn.read_text(encoding="utf-8")
    refused = changeover(running, "lineage", PRODUCT, 1, "--picture", tmp_path / "lineage.png", code=2).stderr
    assert "is no SVG file" in refused


def test_what_it_learned_is_laid_to_start_from(
    running: Plant, version: Version, clone: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its batch's folder, and in a clone from the store; tests/flows/test_set_up.py has what can go wrong."""
    connection = connect_as(running, "trainer")
    monkeypatch.setattr("flows.steps.set_up.champion", lambda connection, product: version)
    model = running.batch(PRODUCT, "b1").file("model")
    for place in (running, clone):
        job = make_job(place, PRODUCT, "b2", str(running.state / "sample-disc" / "good"), warm_start="same")
        try:
            assert set_up(job, connection).endswith(f"starts warm from version 1 of {PRODUCT}")
            assert read_warm_start(job.folder.file("warm")) is not None
            for name in ("weights.pt", "training.json"):
                assert (job.folder.file("warm") / name).read_bytes() == (model / name).read_bytes()
        finally:
            shutil.rmtree(job.folder.path)


def test_the_line_inspects_what_was_published(running: Plant, version: Version, tmp_path: Path) -> None:
    model = running.batch(PRODUCT, "b1").file("report") / "model.onnx"
    publisher = Publisher.of(tmp_path / "key")
    folder = lay(tmp_path / "line", publisher, PRODUCT, "1", model.read_bytes())
    (tmp_path / "publisher.pub").write_text(publisher.public_pem)
    images = running.state / "sample-disc" / "good"
    line = ("--product", PRODUCT, "--published", tmp_path / "line", "--publisher", tmp_path / "publisher.pub")
    looked = json.loads(changeover(running, "inspect", images, *line, "--json").stdout)
    assert looked["version"] == "1" and {row["verdict"] for row in looked["images"]} <= {"pass", "reject"}
    (folder / "model.onnx").write_bytes(model.read_bytes() + b"\0")
    refused = changeover(running, "inspect", images, *line, code=2).stderr
    assert refused.startswith("error: ") and "was changed after it was signed" in refused
    assert "go together" in changeover(running, "inspect", images, *line[:4], code=2).stderr


def test_a_version_that_is_not_there(running: Plant, version: Version) -> None:
    assert "disc has no version 7" in changeover(running, "rebuild", PRODUCT, 7, code=2).stderr


def test_another_threshold_is_a_new_version_from_the_same_training(
    running: Plant, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(running.state / "host.lock"))
    trainer = connect_as(running, "trainer")
    folder = running.batch(PRODUCT, "b1")
    trained = folder.file("dvc.lock").read_text().split("evaluate:")[0], (folder.file("model") / "training.json").read_bytes()
    told = json.loads(changeover(running, "recalibrate", PRODUCT, version.version, "--overkill", "45%", "--json").stdout)
    first, second = sorted(versions(trainer, PRODUCT), key=lambda one: int(one.version))[:2]
    assert told["version"] == second.version == "2" and first.version == version.version
    assert (second.batch, second.images) == (first.batch, first.images)
    assert second.threshold is not None and first.threshold is not None and second.threshold < first.threshold
    metrics = json.loads((folder.file("report") / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["overkill_wish"] == 0.45 and metrics["threshold"] == second.threshold
    # Nothing was trained: what training left is what it was.
    now = folder.file("dvc.lock").read_text().split("evaluate:")[0], (folder.file("model") / "training.json").read_bytes()
    assert now == trained
    assert "overkill_target: 0.45" in (running.path / "products" / PRODUCT / "product.yaml").read_text(encoding="utf-8")
    events = [event for event in recorded(trainer, PRODUCT) if event.action == "register"]
    assert [event.version for event in events] == ["1", "2"]
    again = changeover(running, "recalibrate", PRODUCT, 2, "--overkill", "0.45", code=2).stderr
    assert "version 2 of disc was made for an overkill of 0.45 already" in again
    if not LONG:
        return
    # Four calibration images have one threshold for 20 to 39 %, and 25 % takes the first version's again.
    same = changeover(running, "recalibrate", PRODUCT, 2, "--overkill", "25%").stdout
    assert "disc b1: version 1 " in same
    assert len(versions(trainer, PRODUCT)) == 2
    assert "version 1 of disc stays as it is" in changeover(running, "recalibrate", PRODUCT, 1, "--overkill", "30%").stdout

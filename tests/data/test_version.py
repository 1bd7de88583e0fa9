"""Versioning in throw-away git and DVC repositories."""

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event, Thread
from typing import ClassVar

import pytest
from dvc.lock import make_lock
from filelock import FileLock

from core.errors import BadBatch, ChangeoverError
from data.batch import BatchFolder
from data.dvc_settings import set_remote
from data.ingest import ingest
from data.repository import dvc
from data.version import commit_files, plant_commit, version_batch
from flows.stages import BUSY
from tests.data.conftest import Deliver, git


def test_a_batch_is_committed_tagged_and_pushed(plant: Path, batch: BatchFolder) -> None:
    commit = version_batch(plant, batch)
    assert commit == plant_commit(plant) == git(plant, "rev-parse", "HEAD")
    assert git(plant, "rev-parse", "bolt/a^{commit}") == commit
    assert git(plant, "cat-file", "-t", "bolt/a") == "tag", "annotated"
    assert batch.read_record().digest in git(plant, "tag", "-n2", "-l", "bolt/a")
    base = "products/bolt/a"
    assert set(git(plant, "show", "--name-only", "--format=", "HEAD").split()) == {
        f"{base}/batch.yaml",
        f"{base}/good.dvc",
        f"{base}/.gitignore",
    }
    stored = [path for path in (plant.parent / "store").rglob("*") if path.is_file()]
    assert len(stored) == 12 + 1, "the images and their list"
    assert git(plant, "status", "--porcelain") == ""
    assert git(plant, "log", "-1", "--format=%an <%ae>") == "changeover <changeover@localhost>"


def test_again_changes_nothing(plant: Path, batch: BatchFolder) -> None:
    commit = version_batch(plant, batch)
    (plant / "note").write_text("x")
    later = commit_files(plant, [plant / "note"], "Later work")
    assert later != commit
    assert version_batch(plant, batch) == commit
    assert plant_commit(plant) == later


def test_a_configured_identity_is_kept(plant: Path, batch: BatchFolder) -> None:
    git(plant, "config", "user.name", "Ada")
    git(plant, "config", "user.email", "ada@plant")
    version_batch(plant, batch)
    assert git(plant, "log", "-1", "--format=%an <%ae>") == "Ada <ada@plant>"


def test_commits_and_tags_need_no_key_of_a_person(plant: Path, batch: BatchFolder) -> None:
    for section, key in (("commit", "gpgSign"), ("tag", "gpgSign"), ("tag", "forceSignAnnotated")):
        git(plant, "config", f"{section}.{key}", "true")
    git(plant, "config", "gpg.program", "/no/such/program")
    assert git(plant, "rev-parse", "HEAD") != version_batch(plant, batch) == git(plant, "rev-parse", "bolt/a^{commit}")
    assert git(plant, "cat-file", "-t", "bolt/a") == "tag"


def test_other_staged_work_is_left_alone(plant: Path, batch: BatchFolder) -> None:
    (plant / "draft").write_text("not ready")
    git(plant, "add", "draft")
    version_batch(plant, batch)
    assert git(plant, "status", "--porcelain") == "A  draft"


def test_changed_images_under_an_old_tag_are_refused(plant: Path, batch: BatchFolder, deliver: Deliver) -> None:
    commit = version_batch(plant, batch)
    shutil.rmtree(batch.good)
    batch.file("batch.yaml").unlink()
    ingest(deliver(13, "other"), batch, "bolt", "a")
    with pytest.raises(BadBatch, match=r"tag bolt/a stands for other images.*use a new batch name"):
        version_batch(plant, batch)
    assert git(plant, "rev-parse", "bolt/a^{commit}") == commit == plant_commit(plant)


def test_an_image_changed_behind_the_record_is_refused(plant: Path, batch: BatchFolder) -> None:
    version_batch(plant, batch)
    image = next(batch.good.iterdir())
    image.unlink()
    image.write_bytes(b"other")
    with pytest.raises(BadBatch, match=r"good\.dvc differs"):
        version_batch(plant, batch)


def test_cut_off_before_the_tag_it_is_finished_later(plant: Path, batch: BatchFolder) -> None:
    commit = version_batch(plant, batch)
    git(plant, "tag", "--delete", "bolt/a")
    assert version_batch(plant, batch) == commit
    assert git(plant, "rev-parse", "bolt/a^{commit}") == commit


def test_without_a_remote_nothing_is_pushed(plant: Path, batch: BatchFolder) -> None:
    (plant / ".dvc" / "config").write_text("")
    version_batch(plant, batch)
    assert not (plant.parent / "store").exists()


def test_a_remote_that_fails_is_told_in_one_line_and_the_batch_is_not_tagged(plant: Path, batch: BatchFolder) -> None:
    (plant.parent / "store").write_text("a file where a folder should be")
    with pytest.raises(
        ChangeoverError, match=r"storage .*/store cannot be written: a part of its path is a file.*; move"
    ) as error:
        version_batch(plant, batch)
    assert "\n" not in str(error.value)
    assert git(plant, "tag") == ""
    (plant.parent / "store").unlink()
    assert version_batch(plant, batch) == plant_commit(plant)


def test_commit_files_commits_only_these(plant: Path) -> None:
    for name in ("a.json", "b.json", "[c].json"):
        (plant / name).write_text("1")
    git(plant, "add", "b.json")
    start = plant_commit(plant)
    commit = commit_files(plant, [plant / "a.json", plant / "[c].json"], "Record a and c")
    assert git(plant, "show", "--name-only", "--format=%s", commit).split("\n") == ["Record a and c", "", "[c].json", "a.json"]
    assert commit_files(plant, [plant / "a.json"], "Again") == commit
    assert commit_files(plant, [], "Nothing") == commit
    (plant / "a.json").unlink()
    removed = commit_files(plant, [plant / "a.json"], "Remove a")
    assert git(plant, "show", "--name-status", "--format=", removed) == "D\ta.json"
    assert git(plant, "status", "--porcelain") == "A  b.json" and start != commit


def test_what_git_refuses_is_told_in_one_line(plant: Path, tmp_path: Path) -> None:
    with pytest.raises(ChangeoverError, match=r"'git add' failed.*did not match any files"):
        commit_files(plant, [plant / "missing"], "x")
    with pytest.raises(ChangeoverError, match="outside the plant"):
        commit_files(plant, [tmp_path / "elsewhere"], "x")
    (plant / ".work").mkdir()
    (plant / ".work" / "x").write_text("1")
    with pytest.raises(ChangeoverError, match=r"'git add' failed.*ignored") as error:
        commit_files(plant, [plant / ".work" / "x"], "x")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_plant(tmp_path: Path, deliver: Deliver) -> None:
    folder = BatchFolder.of(tmp_path / "bare", "bolt", "a")
    ingest(deliver(12), folder, "bolt", "a")
    with pytest.raises(ChangeoverError, match=r"not the root of a git and DVC repository.*changeover init"):
        version_batch(tmp_path / "bare", folder)
    git(tmp_path / "bare", "init", "--quiet")
    with pytest.raises(ChangeoverError, match="not the root"):
        commit_files(tmp_path / "bare", [], "x")
    with pytest.raises(ChangeoverError, match="no git commit yet"):
        plant_commit(tmp_path / "bare")


def test_a_held_lock_is_waited_for_and_then_named(plant: Path, batch: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.version.LOCK_SECONDS", 0.1)
    (plant / ".changeover").mkdir(exist_ok=True)
    with (
        FileLock(plant / ".changeover" / "git.lock"),
        pytest.raises(ChangeoverError, match=r"git\.lock has been held for 0\.1 s by another process"),
    ):
        version_batch(plant, batch)


def test_a_slow_upload_holds_nobody_up(plant: Path, batch: BatchFolder, deliver: Deliver, tmp_path: Path) -> None:
    """The store does not answer until another product has been versioned and a stage could run."""
    other = BatchFolder.of(plant, "nut", "a")
    ingest(deliver(12, "nuts", first=40), other, "nut", "a")
    with ThreadPoolExecutor(1) as pool, slow_store(plant) as (arrived, answer):
        uploading = pool.submit(version_batch, plant, batch)
        assert arrived.wait(60), "the upload has begun"
        assert git(plant, "tag") == "", "no tag for what the store has not got"
        commit = commit_files(plant, [other.file("batch.yaml")], "Meanwhile")
        dvc(other.path, "add", "--quiet", "good")  # by DVC's own lock
        assert not uploading.done()
        answer.set()
        made = uploading.result(60)
    assert git(plant, "rev-parse", "bolt/a^{commit}") == made != commit
    assert [place.name for place in (plant / ".changeover").iterdir() if place.is_dir()] == [], "no room is left"


def test_another_dvc_at_work_is_told_as_such(plant: Path, batch: BatchFolder) -> None:
    (plant / ".dvc" / "tmp").mkdir(exist_ok=True)
    with (
        make_lock(str(plant / ".dvc" / "tmp" / "lock"), tmp_dir=str(plant / ".dvc" / "tmp")),
        pytest.raises(ChangeoverError, match="'dvc add' failed") as error,
    ):
        version_batch(plant, batch)
    assert any(busy in str(error.value) for busy in BUSY), error.value  # which is tried again


def test_what_a_killed_upload_left_is_swept_and_a_live_one_is_not(plant: Path, batch: BatchFolder) -> None:
    dead, live, new = (plant / ".changeover" / f"transfer-{name}" for name in ("dead", "live", "new"))
    for room in (dead, live, new):
        (room / ".dvc").mkdir(parents=True)
        (room / ".dvc" / "config.local").write_text("password")
    for room in (dead, live):
        os.utime(room, (1, 1))
    hold = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    with Popen([sys.executable, "-c", hold, str(live)], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        (plant / ".dvc" / "config").write_text(
            "[core]\n  remote = store\n['remote \"store\"']\n  url = ../../store\n[cache]\n  type = copy\n"
        )
        version_batch(plant, batch)
        assert {room.name for room in (plant / ".changeover").glob("transfer-*")} == {"transfer-live", "transfer-new"}
        process.communicate(b"\n")
    version_batch(plant, batch)
    assert {room.name for room in (plant / ".changeover").glob("transfer-*")} == {"transfer-new"}


@contextmanager
def slow_store(plant: Path) -> Iterator[tuple[Event, Event]]:
    """A store behind HTTP that takes every file, once it may: events for "somebody asked" and "it may answer"."""
    arrived, answer = Event(), Event()

    class Store(BaseHTTPRequestHandler):
        kept: ClassVar[dict[str, bytes]] = {}

        def _any(self) -> None:
            content = self._body()
            arrived.set()
            answer.wait(60)
            if self.command == "POST":
                self.kept[self.path] = content
            found = self.kept.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    for verb in ("GET", "HEAD", "POST"):
        setattr(Store, f"do_{verb}", Store._any)
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        set_remote(plant / ".dvc" / "config", "store", f"http://127.0.0.1:{server.server_port}")
        try:
            yield arrived, answer
        finally:
            answer.set()
            server.shutdown()


def test_commits_at_the_same_time_wait_for_each_other(plant: Path) -> None:
    paths = [plant / f"record-{number}.json" for number in range(12)]
    for path in paths:
        path.write_text("1")
    with ThreadPoolExecutor(6) as pool:
        commits = [*pool.map(lambda path: commit_files(plant, [path], f"Record {path.name}"), paths)]
    assert len(set(commits)) == 12
    assert git(plant, "status", "--porcelain") == ""

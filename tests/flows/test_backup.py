"""Backups: whole or not there, taken while others write, laid out again byte for byte, and nothing but what was written."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from data.repository import dvc, git
from data.sample.pictures import write_sample
from flows.errors import BackupError
from flows.plant import Plant
from flows.records.trail import check_head, database, keep_head, key_file
from flows.serving import servers
from flows.serving.identity import copied, settled
from flows.serving.services import connect_as, connect_as_person
from flows.steps.promote import promote
from flows.upkeep.adopt import adopt, record_adoption
from flows.upkeep.backup import backup, last_backup
from flows.upkeep.backup_file import LIST, SUM, content, read_backup, unfinished
from flows.upkeep.doctor import examine
from flows.upkeep.restore import Changed, restore
from registry.client.record import recorded
from registry.client.sign_off import sign_off, status_of
from registry.client.users import add_user, change_password
from registry.client.versions import champion, register, version_of
from registry.trail import audit
from tests.registry.conftest import request_for

from .test_cli import changeover, the_error
from .test_trail import append

PASSWORD = "a-long-password"
AS_IT_WAS = Changed()


def quiet(text: str) -> None:
    """Tells nobody."""


def refused(*arguments: object) -> str:
    """The error in which a command ends, after what it said about its progress."""
    result = changeover(*arguments)
    assert result.exit_code == 2 and result.stdout == "", result.output
    return result.stderr.splitlines()[-1]


def tree(folder: Path, *without: str) -> dict[str, tuple[int, str]]:
    """Every file and link under ``folder``: mode, and digest or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(without) if without else False:
            continue
        if path.is_symlink():
            found[name] = (0, f"-> {path.readlink()}")
        elif path.is_file():
            found[name] = (stat.S_IMODE(path.stat().st_mode), hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@pytest.fixture(scope="module")
def full(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plant with a trail, kept heads, secrets, a batch in git and DVC, a link, and a name that is no UTF-8."""
    path = tmp_path_factory.mktemp("full") / "plant"
    plant = Plant.open(Path(shutil.copytree(pattern, path)))
    append(plant, 4)
    keep_head(plant)
    (plant.state / "secrets").mkdir(mode=0o700)
    (plant.state / "secrets" / "prefect").write_text("changeover:x")
    (plant.state / "secrets" / "prefect").chmod(0o600)
    folder = plant.path / "products" / "bolt" / "b1"
    write_sample(folder, 3, 1, 1)
    dvc(folder, "add", "--quiet", "good")
    dvc(folder, "push", "--quiet")
    (folder / "latest").symlink_to("good")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("no UTF-8")
    deep = plant.state / "mlflow" / "artifacts" / "1"
    (deep / "mlflow.db").mkdir(parents=True)  # names of what is left out, where it is none of that
    for name in ("dvc.lock", "serve.json", "mlflow.db/users.db", "servers.json"):
        (deep / name).write_text(name)
    for name in (".changeover/logs/mlflow.log", ".changeover/runs/1-1.json", "published/bolt/current.json"):
        (plant.path / name).parent.mkdir(parents=True, exist_ok=True)
        (plant.path / name).write_text("{}")
    (plant.state / "servers.json").write_text("{}")
    return path


@pytest.fixture
def filled(full: Path, tmp_path: Path) -> Plant:
    """A plant like ``full`` that was up, with a link that names its folder."""
    plant = Plant.open(Path(shutil.copytree(full, tmp_path / "plant", symlinks=True)))
    (plant.path / "products" / "bolt" / "b1" / "absolute").symlink_to(plant.path / "products" / "bolt" / "b1" / "good")
    settled(plant)
    return plant


def test_a_plant_comes_back_byte_for_byte_and_says_that_it_is_a_copy(filled: Plant, tmp_path: Path) -> None:
    filled.path.chmod(0o751)
    made = backup(filled, tmp_path / "backup", quiet)
    assert stat.S_IMODE(made.target.stat().st_mode) == 0o700 and made.backup.elsewhere == {}
    subprocess.run(["/usr/bin/env", "sha256sum", "--check", "--quiet", SUM], cwd=made.target, check=True)
    path, _ = restore(made.target, tmp_path / "back", AS_IT_WAS, quiet)
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    left_out = (
        ".changeover/mlflow/mlflow.db", ".changeover/logs", ".changeover/runs", ".changeover/servers", ".changeover/last-backup",
        ".changeover/plant.json", ".dvc/tmp", "published", ".changeover/git.lock", ".changeover/heads-in-git.json", ".git/index",
    )  # fmt: skip
    before, after = tree(filled.path, *left_out), tree(path, *left_out)
    moved = "products/bolt/b1/absolute"
    assert after.pop(moved) == (0, f"-> {path}/products/bolt/b1/good") and before.pop(moved)
    assert before == after and len(after) > 40 and any("\udcff" in name for name in after)
    assert len([name for name in after if name.startswith(".changeover/mlflow/artifacts/1/")]) == 4
    for name in ("published", ".changeover/logs", ".changeover/runs", ".changeover/servers.json"):
        assert not (path / name).exists()

    back = Plant.open(path)
    assert "was restored from a backup" in copied(back) and "4 events" in copied(back)
    assert stat.S_IMODE((back.state / "mlflow" / "mlflow.db").stat().st_mode) == 0o600
    assert audit.verify(database(back), *([made.backup.head]), key=key_file(back)) == [] and check_head(back) == ()
    status = subprocess.run(
        ["/usr/bin/env", "git", "status", "--porcelain", "--untracked-files=no"], cwd=path, capture_output=True, check=True
    )
    assert status.stdout == b""
    done = adopt(back, original_is_gone=False)
    assert done is not None and copied(back) == ""


def test_each_content_lies_there_once(filled: Plant, tmp_path: Path) -> None:
    made = backup(filled, tmp_path / "backup", quiet)
    (image,) = {entry.sha256 for entry in made.backup.entries if entry.path.endswith("good/0001.png")} or {""}
    if not image:
        image = next(entry.sha256 for entry in made.backup.entries if "/good/" in entry.path)
    assert sum(entry.sha256 == image for entry in made.backup.entries) == 3  # the batch, DVC's cache and its store
    contents = [path for path in (made.target / "files").rglob("*") if path.is_file()]
    assert {content(made.target, digest) for digest in made.backup.digests} == set(contents)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in contents)


def test_what_lies_elsewhere_is_named_and_a_store_on_another_disk_is_followed(filled: Plant, tmp_path: Path) -> None:
    shutil.move(filled.state / "store", tmp_path / "disk")
    (filled.state / "store").symlink_to(tmp_path / "disk")
    backup(filled, tmp_path / "followed", quiet)
    path, _ = restore(tmp_path / "followed", tmp_path / "back", AS_IT_WAS, quiet)
    assert tree(path / ".changeover" / "store") == tree(tmp_path / "disk") != {}
    (filled.path / "changeover.yaml").write_text(f"storage: {{remote: {tmp_path / 'disk'}, publish: {tmp_path / 'line'}}}\n")
    (filled.path / "data").symlink_to(tmp_path / "disk")
    assert "storage.remote" not in backup(filled, tmp_path / "inside", quiet).backup.elsewhere
    (filled.path / "changeover.yaml").write_text("storage: {remote: data/store}\n")
    assert backup(Plant.open(filled.path), tmp_path / "linked", quiet).backup.elsewhere == {"storage.remote": "data/store"}
    (filled.path / "changeover.yaml").write_text(f"storage: {{remote: {tmp_path / 'disk'}, publish: {tmp_path / 'line'}}}\n")
    told = changeover("backup", tmp_path / "named", "--plant", filled.path).stdout
    assert f"not in it: storage.remote {tmp_path / 'disk'}" in told and f"not in it: storage.publish {tmp_path / 'line'}" in told


def test_paths_into_the_former_folder_and_ports_are_changed_and_comments_stay(filled: Plant, tmp_path: Path) -> None:
    settings = filled.path / "changeover.yaml"
    settings.write_text(
        f"# ours\nstorage:\n  remote: {filled.state / 'store'}  # inside\n  publish: {filled.path / 'out'}\n"
        "servers:\n  mlflow_port: 5001  # as the firewall says\n"
    )
    Plant.init(filled.path)
    backup(Plant.open(filled.path), tmp_path / "backup", quiet)
    path, _ = restore(tmp_path / "backup", tmp_path / "back", Changed(mlflow_port=6001, prefect_port=6002), quiet)
    back = Plant.open(path)
    assert (back.config.servers.mlflow_port, back.config.servers.prefect_port) == (6001, 6002)
    assert (back.config.storage.remote, back.publish) == (".changeover/store", path / "out")
    text = (path / "changeover.yaml").read_text()
    assert text.startswith("# ours\n") and "# inside" in text and str(filled.path) not in text
    assert str(filled.path) not in (path / ".dvc" / "config").read_text()
    shutil.rmtree(path / "products" / "bolt" / "b1" / "good")
    shutil.rmtree(path / ".dvc" / "cache")
    shutil.rmtree(filled.path)
    dvc(path / "products" / "bolt" / "b1", "pull", "--quiet", "good.dvc")


def test_a_store_beside_the_former_plant_is_still_the_store(filled: Plant, tmp_path: Path) -> None:
    settings = filled.path / "changeover.yaml"
    settings.write_text("storage:\n  remote: ../Läger\n  publish: ../line\n")
    Plant.init(filled.path)
    dvc(filled.path / "products" / "bolt" / "b1", "push", "--quiet", "good.dvc")
    backup(Plant.open(filled.path), tmp_path / "backup", quiet)
    (tmp_path / "elsewhere").mkdir()
    path, _ = restore(tmp_path / "backup", tmp_path / "elsewhere" / "back", Changed(), quiet)
    back = Plant.open(path)
    assert back.config.storage.remote == str(filled.path.parent / "Läger")
    assert back.publish.resolve() == tmp_path / "elsewhere" / "line", "not where the original's line reads"
    shutil.rmtree(path / "products" / "bolt" / "b1" / "good")
    shutil.rmtree(path / ".dvc" / "cache")
    dvc(path / "products" / "bolt" / "b1", "pull", "--quiet", "good.dvc")


def test_a_template_of_comments_keeps_them(filled: Plant, tmp_path: Path) -> None:
    backup(filled, tmp_path / "backup", quiet)
    path, _ = restore(tmp_path / "backup", tmp_path / "back", Changed(mlflow_port=6001), quiet)
    text = (path / "changeover.yaml").read_text()
    assert text.startswith("# Settings of this plant.") and Plant.open(path).config.servers.mlflow_port == 6001


def test_a_backup_while_events_are_written_holds_with_its_heads(filled: Plant, tmp_path: Path) -> None:
    end, failed = threading.Event(), []

    def work() -> None:
        try:
            while not end.is_set():
                append(filled, 3)
                keep_head(filled)
        except Exception as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(3):
            backup(filled, tmp_path / f"backup-{number}", quiet)
    finally:
        end.set()
        writer.join()
    assert failed == []
    for number in range(3):
        back = Plant.open(restore(tmp_path / f"backup-{number}", tmp_path / f"back-{number}", AS_IT_WAS, quiet)[0])
        assert check_head(back) == () and audit.verify(database(back), key=key_file(back)) == []


def test_a_killed_backup_or_restore_leaves_nothing_that_looks_like_one(filled: Plant, tmp_path: Path) -> None:
    """Killed at several places; the next one sweeps what it left."""
    code = "import sys, flows.cli; flows.cli.app(sys.argv[1:])"

    def killed_after(seconds: float, *arguments: object) -> int:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        room, deadline = tmp_path / f".{Path(str(arguments[-1])).name}.unfinished", time.monotonic() + 60
        while not room.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        return child.wait()

    for seconds in (0.0, 0.05, 0.2):
        code_of_end = killed_after(seconds, "backup", "--plant", filled.path, tmp_path / "backup")
        assert (tmp_path / "backup").exists() == (code_of_end == 0)
        if code_of_end == 0:
            shutil.rmtree(tmp_path / "backup")
    made = backup(filled, tmp_path / "backup", quiet)
    for seconds in (0.0, 0.1):
        code_of_end = killed_after(seconds, "restore", made.target, tmp_path / "back")
        assert (tmp_path / "back").exists() == (code_of_end == 0)
        if code_of_end == 0:
            shutil.rmtree(tmp_path / "back")
    path, _ = restore(made.target, tmp_path / "back", AS_IT_WAS, quiet)
    assert path.is_dir() and not list(tmp_path.glob(".*.unfinished"))


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(
    filled: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "backup"))

    monkeypatch.setattr("flows.upkeep.backup.os.fsync", full)
    assert "the disk is full" in refused("backup", tmp_path / "backup", "--plant", filled.path)
    assert not (tmp_path / "backup").exists() and not list(tmp_path.glob(".*.unfinished"))


def test_where_a_backup_or_a_plant_may_not_go(filled: Plant, tmp_path: Path) -> None:
    there = ("--plant", filled.path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "is there already" in refused("backup", tmp_path, *there)
    assert "is there already" in refused("backup", tmp_path / "dangling", *there)
    assert "mount that disk" in refused("backup", tmp_path / "no" / "backup", *there)
    (tmp_path / "way").symlink_to(filled.path)
    for inside in (filled.path / "backup", tmp_path / "way" / "backup", filled.state / "backup"):
        assert "lies in the plant" in refused("backup", inside, *there)
    made = backup(filled, tmp_path / "backup", quiet)
    assert "is not empty" in refused("restore", made.target, filled.path)
    assert "is not empty" in refused("restore", made.target, filled.path / "changeover.yaml")
    assert "lies in the backup" in refused("restore", made.target, made.target / "plant")
    assert "is no backup" in refused("restore", filled.path, tmp_path / "back")
    assert "is no backup" in refused("restore", tmp_path / "nowhere", tmp_path / "back")
    assert "--mlflow-port" in refused("restore", made.target, tmp_path / "back", "--mlflow-port", 80)
    assert "leave --database out" in refused("restore", made.target, tmp_path / "back", "--database", "postgresql://u@h/d")
    (tmp_path / "back").mkdir()  # an empty one is as good as none
    assert changeover("restore", made.target, tmp_path / "back").exit_code == 0


def test_two_at_once_to_one_place_and_a_disk_that_keeps_no_modes(
    filled: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unfinished(tmp_path / "backup") as room:
        assert "another process is writing" in refused("backup", tmp_path / "backup", "--plant", filled.path)
        assert room.is_dir()
    shutil.rmtree(tmp_path / "backup")
    real = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        if path.name == ".backup.unfinished":  # as on a disk of FAT or a share of Windows
            real(path, 0o755)
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    assert "mount that disk with umask=077" in refused("backup", tmp_path / "backup", "--plant", filled.path)
    assert not list(tmp_path.glob(".*.unfinished"))


@pytest.mark.parametrize("what", ["changed", "missing", "longer", "list", "sum"])
def test_a_damaged_backup_is_refused_before_anything_is_written(filled: Plant, tmp_path: Path, what: str) -> None:
    made = backup(filled, tmp_path / "backup", quiet)
    entry = next(entry for entry in made.backup.entries if "/good/" in entry.path)
    victim = {"list": made.target / LIST, "sum": made.target / SUM}.get(what, content(made.target, entry.sha256))
    bytes_of = bytearray(victim.read_bytes())
    if what == "missing":
        victim.unlink()
    else:
        bytes_of[20] ^= 1
        victim.write_bytes(bytes(bytes_of) + (b"\0" if what == "longer" else b""))
    error = refused("restore", made.target, tmp_path / "back")
    assert "take another backup" in error and (what in ("list", "sum") or "/good/" in error or "files/md5" in error)
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".*.unfinished"))


@pytest.mark.parametrize("path", ["../out", "/out", "a/../../out", "products/bolt/b1/latest/out", "", "a\0b"])
def test_a_list_that_leads_out_of_the_plant_is_refused(filled: Plant, tmp_path: Path, path: str) -> None:
    made = backup(filled, tmp_path / "backup", quiet)
    found: dict[str, Any] = json.loads((made.target / LIST).read_text())
    next(entry for entry in found["entries"] if "/good/" in entry["path"])["path"] = path
    text = json.dumps(found).encode()
    (made.target / LIST).write_bytes(text)
    (made.target / SUM).write_text(hashlib.sha256(text).hexdigest())
    with pytest.raises(BackupError, match="leads out of a plant"):
        restore(made.target, tmp_path / "back", AS_IT_WAS, quiet)


def test_a_damaged_database_is_not_backed_up(filled: Plant, tmp_path: Path) -> None:
    source = filled.state / "mlflow" / "mlflow.db"
    raw = bytearray(source.read_bytes())
    raw[4096:8192] = os.urandom(4096)
    source.write_bytes(bytes(raw))
    with pytest.raises(BackupError, match=r"damaged|cannot be copied"):
        backup(filled, tmp_path / "backup", quiet)
    assert not (tmp_path / "backup").exists()


def test_a_plant_that_was_never_up(plant: Plant, tmp_path: Path) -> None:
    made = backup(plant, tmp_path / "backup", quiet)
    assert read_backup(made.target).head == ""
    path, _ = restore(made.target, tmp_path / "back", AS_IT_WAS, quiet)
    assert copied(Plant.open(path)) == ""


def test_the_doctor_says_when_the_last_backup_was_made(plant: Plant, tmp_path: Path) -> None:
    def seen() -> tuple[str, str]:
        return next((one.state, one.found) for one in examine(plant.path) if one.what == "backup")

    assert seen() == ("warning", "none was made") and last_backup(plant) is None
    backup(plant, tmp_path / "backup", quiet)
    state, found = seen()
    assert state == "ok" and found.endswith(f"UTC in {tmp_path / 'backup'}")
    old = (datetime.now(UTC) - timedelta(days=8)).isoformat(timespec="seconds")
    (plant.state / "last-backup.json").write_text(json.dumps({"made": old, "target": "x"}))
    assert seen()[0] == "warning"


@pytest.mark.servers
def test_a_drill_on_postgresql(  # noqa: PLR0915 - one story
    plant: Plant, postgresql: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed and promoted, backed up while the server runs, destroyed with a kill, and back on another database and port.

    tests/flows/test_rebuild.py has the drill on SQLite, with both servers, real training and the original alive.
    """
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not on the PATH; on Debian: apt install postgresql-client")
    monkeypatch.setattr(servers, "NAMES", ("mlflow",))  # nothing here is asked of Prefect
    first, second = sa.make_url(postgresql()), sa.make_url(postgresql())
    monkeypatch.setenv("PGPASSWORD", str(first.password))

    def named(url: sa.URL) -> str:
        return url._replace(password=None).render_as_string()

    port = servers.free_port(21000 + os.getpid() % 5000)
    lines = (f"servers: {{mlflow_port: {port}}}", f"registry: {{database: '{named(first)}'}}", "products: {bolt: {}, nut: {}}")
    (plant.path / "changeover.yaml").write_text("\n".join(lines) + "\n")
    plant = Plant.open(plant.path)
    back = None
    try:
        server = servers.up(plant)["mlflow"]
        add_user(connect_as(plant, "admin"), "rosa", "first horse battery", "qa")
        change_password(connect_as_person(plant, "rosa", "first horse battery"), PASSWORD)
        register(connect_as(plant, "trainer"), request_for(tmp_path, "bolt", "b1"))
        sign_off(connect_as_person(plant, "rosa", PASSWORD), "bolt", 1, "approved", "fine")
        promote(plant, "bolt")
        keep_head(plant)
        assert connect_as(plant, "trainer").check()["plant"] == settled(plant).id
        made = backup(plant, tmp_path / "backup", quiet)
        text = (made.target / LIST).read_text()
        assert made.backup.dump and str(first.password) not in text
        assert "create an empty one" in refused("restore", made.target, tmp_path / "back")
        order = ("restore", made.target, tmp_path / "back", "--database")
        assert "is not empty" in refused(*order, named(first))
        assert "holds a password" in refused(*order, second.render_as_string(hide_password=False))
        assert "cannot be reached" in refused(*order, named(second.set(database="nowhere")))

        assert server.mark
        servers.end_group(server.mark, patience=0.0)
        head = audit.head(named(first))
        shutil.rmtree(plant.path)

        other = servers.free_port(port + 1)
        restored = changeover(*order, named(second), "--mlflow-port", other)
        assert restored.exit_code == 0, restored.output
        back = Plant.open(tmp_path / "back")
        assert audit.head(named(second)) == head
        assert "is a copy until" in the_error(changeover("up", "--plant", back.path))
        assert changeover("adopt", "--plant", back.path).exit_code == 0
        assert servers.up(back)["mlflow"].port == other
        record_adoption(back, quiet)
        record_adoption(back, quiet)

        trainer = connect_as(back, "trainer")
        told = [event for event in recorded(trainer) if event.action == "adopt"]
        assert [(event.actor, event.subject, event.allowed) for event in told] == [("promoter", settled(back).id, True)]
        assert "was restored from a backup" in told[0].reason
        assert check_head(back) == () and audit.verify(named(second), made.backup.head, key=key_file(back)) == []
        now = champion(trainer, "bolt")
        assert now is not None and now.version == "1" and status_of(trainer, version_of(trainer, "bolt", 1)).valid
        assert promote(back, "bolt").folder.is_relative_to(back.path)  # published anew, signed with the key of before
        register(trainer, request_for(tmp_path, "nut", "b1"))
        sign_off(connect_as_person(back, "rosa", PASSWORD), "nut", 1, "approved", "fine")
        assert promote(back, "nut").changed and keep_head(back)
        assert audit.verify(named(second), key=key_file(back)) == []

        # A clone of its git repository has the address of the database, and no keys.
        git(back.path, "clone", "--quiet", str(back.path), str(tmp_path / "clone"))
        assert f"{named(second)} is used for its products already" in refused("up", "--plant", tmp_path / "clone")
    finally:
        for one in (plant, back):
            if one is not None and one.path.exists():
                servers.down(one)


def test_sqlite_with_a_journal_that_a_killed_server_left(filled: Plant, tmp_path: Path) -> None:
    """What was written and not committed is not in the backup."""
    source = filled.state / "mlflow" / "mlflow.db"
    code = f"""
import os, sqlite3
db = sqlite3.connect({str(source)!r}); db.execute("PRAGMA cache_size=1"); db.execute("CREATE TABLE big (text)"); db.commit()
db.execute("BEGIN"); db.executemany("INSERT INTO big VALUES (?)", [("x" * 4000,)] * 500); os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    backup(filled, tmp_path / "backup", quiet)
    path, _ = restore(tmp_path / "backup", tmp_path / "back", AS_IT_WAS, quiet)
    with closing(sqlite3.connect(path / ".changeover" / "mlflow" / "mlflow.db")) as db:
        assert db.execute("SELECT count(*) FROM big").fetchone() == (0,)

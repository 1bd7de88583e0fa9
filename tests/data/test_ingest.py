"""Ingest takes what is good, says why it left the rest, and never leaves half a batch."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import data.ingest
from core.errors import BadBatch, BadName, OutOfSpace
from data.batch import NAME, BatchFolder, BatchRecord, Rejection, images_digest
from data.image import read_image
from data.ingest import INCOMING, OUTGOING, ingest, slug
from data.overlay_mark import marked
from tests.data.conftest import Deliver, pixels


def take(source: Path, folder: BatchFolder) -> BatchRecord:
    return ingest(source, folder, "bolt", "a")


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


def reasons(record: BatchRecord) -> dict[str, str]:
    return {rejection.source_name: rejection.reason for rejection in record.rejected}


def test_images_arrive_byte_for_byte_and_the_source_stays(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(14)
    before = snapshot(source)
    record = take(source, folder)
    assert snapshot(source) == before
    assert record == folder.read_record()
    assert record.product == "bolt" and record.batch == "a" and record.rejected == ()
    assert record.digest == images_digest(record.images)
    assert sorted(path.name for path in folder.good.iterdir()) == [image.name for image in record.images]
    for image in record.images:
        content = (source / image.source_name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        assert (folder.good / image.name).read_bytes() == content
        assert (image.sha256, image.bytes) == (sha256, len(content))
        assert (image.width, image.height, image.channels, image.group) == (64, 48, 1, None)
        assert image.name == f"{Path(image.source_name).stem}-{sha256[:8]}.png"
    assert not folder.file(INCOMING).exists() and not folder.file(OUTGOING).exists()


def test_subfolders_are_read_and_hidden_files_ignored(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(7)
    deliver(7, "delivery/camera 2/monday", first=7)
    deliver(3, "delivery/.trash", first=20)
    shutil.copy(source / "part_000.png", source / ".hidden.png")
    record = take(source, folder)
    assert len(record.images) == 14 and record.rejected == ()
    assert {image.source_name for image in record.images} >= {"part_000.png", "camera 2/monday/part_013.png"}


def test_other_files_are_recorded_with_a_reason(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    (source / "notes.txt").write_text("second shift")
    (source / "Thumbs.db").write_bytes(bytes(500))
    (source / "empty.png").touch()
    (source / "cut.png").write_bytes((source / "part_000.png").read_bytes()[:900])
    Image.fromarray(np.full((40, 40), 40000, np.uint16)).save(source / "deep.png")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(source / "dot.png")
    os.mkfifo(source / "pipe.png")
    record = take(source, folder)
    assert len(record.images) == 12
    found = reasons(record)
    assert sorted(found) == ["Thumbs.db", "cut.png", "deep.png", "dot.png", "empty.png", "notes.txt", "pipe.png"]
    for name, words in {
        "notes.txt": "not an image",
        "Thumbs.db": "not an image",
        "empty.png": "0 bytes",
        "cut.png": "damaged",
        "deep.png": "16 bits",
        "dot.png": "1×1 px",
        "pipe.png": "not a regular file",
    }.items():
        assert words in found[name], name


def test_the_same_image_twice_counts_once(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(13)
    shutil.copy(source / "part_004.png", source / "zz_copy.png")
    record = take(source, folder)
    assert len(record.images) == 13
    assert reasons(record) == {"zz_copy.png": "the same image as 'part_004.png', byte for byte"}


def test_mixed_sizes_are_taken(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    Image.fromarray(pixels(99, 100, 120)).save(source / "large.png")
    sizes = {(image.width, image.height) for image in take(source, folder).images}
    assert sizes == {(64, 48), (120, 100)}


def test_a_stray_colour_image_is_left_out(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(14)
    Image.fromarray(pixels(50, channels=3)).save(source / "logo.png")
    Image.fromarray(pixels(51)).convert("RGB").save(source / "grey_as_colour.png")
    record = take(source, folder)
    assert {image.channels for image in record.images} == {1} and len(record.images) == 15
    assert "colour image among 15 grey images" in reasons(record)["logo.png"]


def test_a_mixture_of_grey_and_colour_is_refused(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(14)
    deliver(3, "delivery/colour", first=30, channels=3)
    with pytest.raises(BadBatch, match=r"14 grey and 3 colour images in one batch.*convert them"):
        take(source, folder)
    assert not folder.good.exists()


def test_a_batch_of_a_colour_camera_holds_pictures_without_colour(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(3, channels=3)
    for number in range(11):
        Image.fromarray(pixels(60 + number)).convert("RGB").save(source / f"neutral{number}.png")
    Image.fromarray(pixels(80)).save(source / "saved_as_grey.png")
    record = take(source, folder)
    assert len(record.images) == 15 and {image.channels for image in record.images} == {3} and record.rejected == ()
    assert folder.channels() == 3
    assert {read_image(folder.good / image.name, folder.channels()).shape for image in record.images} == {(48, 64, 3)}


def test_files_whose_end_was_never_written_are_left(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(14)
    cut = pixels(50)
    cut[24:] = 0
    Image.fromarray(cut).save(source / "cut.tif")
    Image.fromarray(np.flipud(cut)).save(source / "cut.bmp")
    found = reasons(take(source, folder))
    assert sorted(found) == ["cut.bmp", "cut.tif"] and all(
        "last 24 of 48 rows are all of one level" in word for word in found.values()
    )


def test_a_camera_that_always_ends_in_black_is_taken(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(2)
    for number in range(12):
        cut = pixels(50 + number)
        cut[36:] = 0
        Image.fromarray(cut).save(source / f"cut{number}.png")
    assert len(take(source, folder).images) == 14


def test_files_that_are_still_being_written_are_waited_for(
    deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, waits = deliver(13), []
    whole = (source / "part_012.png").read_bytes()
    (source / "part_012.png").write_bytes(whole[:700])

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            (source / "part_012.png").write_bytes(whole)

    monkeypatch.setattr("data.settle.QUIET", 60.0)
    monkeypatch.setattr("data.settle.time.sleep", sleep)
    assert len(take(source, folder).images) == 13 and len(waits) >= 2


def test_a_batch_made_by_older_rules_stays_as_it_is(deliver: Deliver, folder: BatchFolder) -> None:
    """Two pictures were left then that would be taken now; it is the same delivery, and nothing is trained again."""
    source = deliver(14)
    record = take(source, folder)
    left = record.images[3:5]
    images = tuple(image for image in record.images if image not in left)
    rejected = tuple(Rejection(source_name=image.source_name, reason="grey image among 36 colour images") for image in left)
    older = record.model_copy(update={"images": images, "rejected": rejected, "digest": images_digest(images)})
    folder.write_record(older)
    for image in left:
        (folder.good / image.name).unlink()
    before = snapshot(folder.path)
    assert take(source, folder) == older
    assert snapshot(folder.path) == before
    shutil.rmtree(folder.good)
    assert take(source, folder) == older
    assert sorted(file.name for file in folder.good.iterdir()) == [image.name for image in images]
    (source / left[0].source_name).rename(source / "new.png")
    with pytest.raises(BadBatch, match="a batch never changes"):
        take(source, folder)


def test_a_folder_of_links_is_told_what_to_do(deliver: Deliver, folder: BatchFolder, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for file in deliver(20).iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    with pytest.raises(
        BadBatch, match=r"0 usable images among 0 files and 20 links out of it.*'cp -rL'.*20 × link to a file outside"
    ):
        take(tmp_path / "links", folder)


def test_overlays_of_an_inspection_are_no_good_images(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    (source / "overlays").mkdir()
    (source / "overlays" / "part_000.png").write_bytes(marked((source / "part_000.png").read_bytes()))
    assert "an overlay that 'changeover inspect' wrote" in reasons(take(source, folder))["overlays/part_000.png"]


def test_a_colour_batch(deliver: Deliver, folder: BatchFolder) -> None:
    assert {image.channels for image in take(deliver(12, channels=3), folder).images} == {3}


def test_links(deliver: Deliver, folder: BatchFolder, tmp_path: Path) -> None:
    source, secret = deliver(12), deliver(1, "elsewhere", first=40)
    (source / "out.png").symlink_to(secret / "part_040.png")
    (source / "out_folder").symlink_to(secret)
    (source / "broken.png").symlink_to(source / "nothing.png")
    (source / "z_inside.png").symlink_to(source / "part_003.png")
    (source / "loop").symlink_to(source)
    record = take(source, folder)
    assert len(record.images) == 12
    found = reasons(record)
    assert found["out.png"] == "link to a file outside the folder"
    assert found["out_folder"] == found["loop"] == "link to a folder; links are not followed"
    assert found["broken.png"] == "broken link"
    assert "the same image as 'part_003.png'" in found["z_inside.png"]


def test_strange_names(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(9)
    names = [
        "Schweißnähte ✓.png",
        "x" * 200 + ".png",
        "..png",
        "...PNG.png",
        "-rf *.png",
        "a\nb.png",
        "x\\..\\y.png",
        "部品.png",
    ]
    for number, name in enumerate(names):
        Image.fromarray(pixels(60 + number)).save(source / name, format="PNG")
    (Path(os.fsencode(source).decode()) / os.fsdecode(b"caf\xe9.png")).write_bytes(_png(80))
    record = take(source, folder)
    taken = {image.source_name: image.name for image in record.images}
    assert set(taken) >= set(names) - {"..png", "...PNG.png"}, "all but hidden ones"
    assert taken["Schweißnähte ✓.png"].startswith("schweinahte-")
    assert taken["部品.png"].startswith("image-")
    assert taken["caf\\xe9.png"].startswith("caf-")
    assert len(taken["x" * 200 + ".png"]) == 60 + 1 + 8 + 4
    assert all(NAME.fullmatch(name[:63]) and "/" not in name and ".." not in name for name in taken.values())
    assert record == folder.read_record()


def _png(number: int) -> bytes:
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels(number)).save(stream, format="PNG")
    return stream.getvalue()


@given(st.text(max_size=300))
def test_slugs_are_safe_names(stem: str) -> None:
    made = slug(stem)
    assert NAME.fullmatch(made) and len(made) <= 60 and ".." not in made and not made.endswith((".", "-", "_"))
    assert slug(made) == made


def test_equal_first_digits_do_not_collide(deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = deliver(6)
    deliver(6, "delivery/again", first=10)
    for number in range(6):
        (source / "again" / f"part_{10 + number:03d}.png").rename(source / "again" / f"part_{number:03d}.png")
    real = hashlib.sha256

    class Forged:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def hexdigest(self) -> str:
            return "0" * 8 + real(self.content).hexdigest()[8:]

    monkeypatch.setattr(data.ingest.hashlib, "sha256", Forged)
    monkeypatch.setattr(data.ingest, "images_digest", lambda images: "d" * 64)
    names = [image.name for image in take(source, folder).images]
    assert len(set(names)) == 12


def test_too_few_images_tells_the_commonest_reasons(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(11)
    for number in range(5):
        (source / f"note{number}.txt").write_text("x")
    for number in range(3):
        (source / f"empty{number}.png").touch()
    for number in range(2):
        Image.fromarray(np.zeros((9, 9 + number), np.uint8)).save(source / f"dot{number}.png")
    (source / "broken.png").symlink_to("nowhere")
    with pytest.raises(BadBatch) as error:
        take(source, folder)
    message = str(error.value)
    assert "11 usable images among 21 files" in message and "at least 12 are needed" in message
    listed = message.split("Rejected: ")[1].split("; ")
    assert "5 × is not an image" in message and "3 × has" in message and "2 × is" in message and "broken link" not in message
    assert message.index("5 ×") < message.index("3 ×") < message.index("2 ×") and listed
    assert not folder.good.exists() and not folder.file("batch.yaml").exists()


def test_places_that_are_no_source(deliver: Deliver, folder: BatchFolder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadBatch, match="0 usable images among 0 files"):
        take(tmp_path / "empty", folder)
    with pytest.raises(BadBatch, match="no folder"):
        take(tmp_path / "missing", folder)
    with pytest.raises(BadBatch, match="is a file, not a folder"):
        take(deliver(1) / "part_000.png", folder)
    with pytest.raises(BadBatch, match="contain each other"):
        take(tmp_path, folder)
    with pytest.raises(BadBatch, match="contain each other"):
        folder.good.mkdir(parents=True)
        take(folder.good, folder)
    with pytest.raises(BadName):
        ingest(deliver(12), folder, "bolt", "../x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_places(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    locked = deliver(1, "delivery/locked", first=50)
    locked.chmod(0)
    (source / "part_000.png").chmod(0)
    deliver(2, first=20)
    try:
        found = reasons(take(source, folder))
    finally:
        locked.chmod(0o700)
    assert "folder cannot be read" in found["locked"] and "Permission denied" in found["part_000.png"]


def test_a_source_without_permission(deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(BadBatch, match="may not be read by this user"):
        take(deliver(12), folder)


def test_an_unreadable_subfolder_is_recorded(deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = deliver(12)
    deliver(1, "delivery/locked", first=50)
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(take(source, folder)) == {"locked": "folder cannot be read (Permission denied)"}


def test_the_same_batch_again_changes_nothing(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    first = take(source, folder)
    before = snapshot(folder.path)
    (source / "readme.txt").write_text("a new note is no new image")
    assert take(source, folder) == first
    assert snapshot(folder.path) == before


def test_a_changed_batch_is_refused(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    take(source, folder)
    before = snapshot(folder.path)
    deliver(1, first=70)
    with pytest.raises(BadBatch, match=r"13 now, 12 then.*give these images a new batch name"):
        take(source, folder)
    (source / "part_070.png").unlink()
    (source / "groups.csv").write_text("file,group\npart_000.png,1\n")
    with pytest.raises(BadBatch, match="other images or parts"):
        take(source, folder)
    assert snapshot(folder.path) == before


def test_lost_images_are_restored(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    record = take(source, folder)
    written = folder.file("batch.yaml").stat().st_mtime_ns
    (folder.good / record.images[3].name).unlink()
    assert take(source, folder) == record
    assert (folder.good / record.images[3].name).exists()
    shutil.rmtree(folder.good)
    take(source, folder)
    assert len(list(folder.good.iterdir())) == 12
    assert folder.file("batch.yaml").stat().st_mtime_ns == written


def test_images_without_a_record_are_taken_again(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    record = take(source, folder)
    folder.file("batch.yaml").unlink()
    (folder.good / "stray.png").write_bytes(b"left over")
    assert take(source, folder) == record
    assert not (folder.good / "stray.png").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    source = deliver(12)
    _fail_at(monkeypatch, 5, OSError(number, "No space left on device"))
    with pytest.raises(OutOfSpace, match="filled up while copying; free some space"):
        take(source, folder)
    assert snapshot(folder.path) == {}
    assert not folder.file(INCOMING).exists()
    monkeypatch.undo()
    assert len(take(source, folder).images) == 12


def test_too_little_space_is_seen_before_anything_is_written(
    deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutOfSpace, match="do not fit into 0 MiB free"):
        take(deliver(12), folder)
    assert snapshot(folder.path) == {}


def test_another_disk_error(deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_at(monkeypatch, 2, OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(BadBatch, match=r"could not be copied.*Read-only file system"):
        take(deliver(12), folder)


@pytest.mark.parametrize("call", ["_copy_file", "_sync_folder", "images_digest", "decode_image"])
def test_interrupted_anywhere_the_next_call_succeeds(
    deliver: Deliver, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    source = deliver(12)
    _fail_at(monkeypatch, 0 if call == "images_digest" else 1, KeyboardInterrupt(), call)
    with pytest.raises(KeyboardInterrupt):
        take(source, folder)
    assert not folder.file("batch.yaml").exists()
    monkeypatch.undo()
    assert len(take(source, folder).images) == 12 == len(list(folder.good.iterdir()))


def test_killed_between_the_two_renames(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    record = take(source, folder)
    folder.good.rename(folder.file(OUTGOING))  # as a kill would leave it while images are being restored
    folder.file(INCOMING).mkdir()
    (folder.file(INCOMING) / "half.png").write_bytes(b"ha")
    before = folder.file("batch.yaml").stat().st_mtime_ns
    assert take(source, folder) == record
    assert len(list(folder.good.iterdir())) == 12
    assert not folder.file(INCOMING).exists() and not folder.file(OUTGOING).exists()
    assert folder.file("batch.yaml").stat().st_mtime_ns == before


def test_a_source_that_changes_while_it_is_copied(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)

    def meddle(done: int, total: int) -> None:
        if done == 12:  # all are judged, none is copied
            (source / "part_009.png").write_bytes(b"other")

    with pytest.raises(BadBatch, match=r"'part_009.png' changed while it was being ingested"):
        ingest(source, folder, "bolt", "a", meddle)
    assert snapshot(folder.path) == {}


def test_a_source_that_vanishes_while_it_is_copied(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    with pytest.raises(BadBatch, match="could be read a moment ago"):
        ingest(source, folder, "bolt", "a", lambda done, total: (source / "part_009.png").unlink() if done == 12 else None)


def test_two_at_once(deliver: Deliver, folder: BatchFolder) -> None:
    folder.work.mkdir(parents=True)
    with FileLock(folder.work / "ingest.lock"), pytest.raises(BadBatch, match="being ingested by another process"):
        take(deliver(12), folder)


def test_progress_rises_to_the_end(deliver: Deliver, folder: BatchFolder) -> None:
    seen: list[tuple[int, int]] = []
    source = deliver(13)
    (source / "note.txt").write_text("x")
    ingest(source, folder, "bolt", "a", lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {28}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (28, 28)


def _fail_at(monkeypatch: pytest.MonkeyPatch, turn: int, error: BaseException, name: str = "_copy_file") -> None:
    """Let call number ``turn`` of a function of ``data.ingest`` fail."""
    real: Callable[..., object] = getattr(data.ingest, name)
    calls: list[int] = []

    def failing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == turn + 1:
            raise error
        return real(*arguments)

    monkeypatch.setattr(data.ingest, name, failing)

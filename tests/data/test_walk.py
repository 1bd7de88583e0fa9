"""What a walk through a folder takes and leaves, and when it has settled."""

import os
import threading
import time
from pathlib import Path

import pytest

from core.errors import BadBatch
from data.settle import settled
from data.walk import walk


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def reasons(source: Path, **options: object) -> dict[str, tuple[str, bool]]:
    return {one.name: (one.reason, one.expected) for one in walk(source, **options).skipped}  # type: ignore[arg-type]


def names(source: Path, **options: object) -> list[str]:
    return [file.name for file in walk(source, **options).files]  # type: ignore[arg-type]


def test_every_file_is_found_or_named(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "d", write(tmp_path / "elsewhere" / "o.png")
    for name in (
        "b.png",
        "a.jfif",
        "c.jpe",
        "noending",
        "sub/deep/e.TIF",
        "._x.png",
        ".trash/t.png",
        "@eaDir/thumb.jpg",
        "x.txt",
    ):
        write(source / name)
    (source / "broken.png").symlink_to("nothing")
    (source / "self.png").symlink_to("self.png")
    (source / "out.png").symlink_to(elsewhere)
    (source / "in.png").symlink_to("b.png")
    (source / "folder").symlink_to(elsewhere.parent)
    assert names(source) == ["a.jfif", "b.png", "c.jpe", "in.png", "noending", "sub/deep/e.TIF", "x.txt"]
    assert reasons(source) == {
        "._x.png": ("hidden file", True),
        ".trash": ("hidden folder", True),
        "@eaDir": ("folder of the system", True),
        "broken.png": ("broken link", False),
        "self.png": ("broken link", False),
        "out.png": ("link to a file outside the folder", False),
        "folder": ("link to a folder; links are not followed", False),
    }
    assert "out.png" in names(source, follow_out=True)


@pytest.mark.parametrize("spelling", ["d/over", "./d/sub/../over", "link/over", "absolute"])
def test_the_folder_that_is_left_is_not_entered_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("d/a.png", "d/over/b.png", "d/sub/over/c.png"):
        write(tmp_path / name)
    (tmp_path / "link").symlink_to("d")
    leave = tmp_path / "d" / "over" if spelling == "absolute" else Path(spelling)
    assert names(Path("d"), leave=leave) == ["a.png", "sub/over/c.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_without_permission_are_named(tmp_path: Path) -> None:
    for name in ("a.png", "shut/b.png", "blind/c.png"):
        write(tmp_path / "d" / name)
    (tmp_path / "d" / "shut").chmod(0)
    (tmp_path / "d" / "blind").chmod(0o400)
    try:
        assert "shut" in reasons(tmp_path / "d")
    finally:
        for name in ("shut", "blind"):
            (tmp_path / "d" / name).chmod(0o700)


def test_files_that_stand_still_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.settle.QUIET", 1.0)
    os.utime(write(tmp_path / "a.png"), (time.time() - 60,) * 2)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    assert len(settled(lambda: walk(tmp_path)).files) == 1


def test_what_is_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.settle.QUIET", 0.3)
    write(tmp_path / "a.png")
    begun = threading.Event()

    def camera() -> None:
        begun.wait()
        with (tmp_path / "a.png").open("ab") as stream:
            stream.write(b"more")
        write(tmp_path / "b.png")

    writer = threading.Thread(target=camera)
    writer.start()
    looks = []

    def look() -> object:
        looks.append(walk(tmp_path))
        begun.set()
        return looks[-1]

    found = settled(look)  # type: ignore[arg-type]
    writer.join()
    assert [file.name for file in found.files] == ["a.png", "b.png"] and len(looks) > 1
    assert found.files[0].path.read_bytes() == b"xmore"


def test_a_clock_that_is_ahead_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.settle.QUIET", 0.01)
    os.utime(write(tmp_path / "a.png"), (time.time() + 3600,) * 2)
    assert len(settled(lambda: walk(tmp_path)).files) == 1


def test_a_camera_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.settle.QUIET", 0.01)
    monkeypatch.setattr("data.settle.PATIENCE", 0.05)
    number = iter(range(10_000))

    def look() -> object:
        write(tmp_path / "a.png", b"x" * (1 + next(number)))
        return walk(tmp_path)

    with pytest.raises(BadBatch, match=r"'a.png' and 0 other files are still being written.*run again when the camera"):
        settled(look)  # type: ignore[arg-type]

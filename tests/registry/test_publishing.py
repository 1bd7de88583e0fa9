"""Publishing into a folder that others can write to, against a real server: only what was made here is ever signed."""

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from registry.client import pointer
from registry.client import publish as publishing
from registry.client.promote import promote
from registry.client.publish import publish, retract, take_off_line
from registry.client.sign_off import sign_off, status_of
from registry.client.versions import Registration, register, version_of
from registry.errors import Broken, NotFound, Refused, RegistryError
from registry.line import MODEL_KIND, read_pointer, read_published
from registry.signature import PUBLIC_FILE, PublicKey, Publisher

from .conftest import Registry

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

Make = Callable[..., Registration]


@pytest.fixture
def champion(registry: Registry, make_request: Make, product: str) -> str:
    """A version of ``product`` that is champion, and not published."""
    return _champion(registry, make_request("a"))


def _champion(registry: Registry, request: Registration) -> str:
    version = register(registry.trainer, request).version
    assert sign_off(registry.ana, request.product, version, "approved", "as good as the last one").valid
    promote(registry.promoter, request.product)
    return version


@pytest.fixture
def key(registry: Registry) -> PublicKey:
    assert registry.promoter.publisher_key is not None
    return Publisher.of(registry.promoter.publisher_key).public


def _digest(registry: Registry, product: str, version: str) -> str:
    return version_of(registry.vic, product, version).digest


def test_the_card_says_who_signed_what_and_how(registry: Registry, champion: str, product: str, tmp_path: Path) -> None:
    folder = publish(registry.promoter, product, champion, tmp_path / "line")
    card = json.loads((folder / "card.json").read_text())
    tags = version_of(registry.vic, product, champion).tags
    assert card["signed"] == {
        "by": "ana",
        "name": "Ana Example",
        "at": tags["qa.at"],
        "meaning": "approved",
        "way": "terminal",
        "reason": "as good as the last one",
    }
    assert card["requested_by"] == tags["changeover.requested_by"] != ""


def test_what_is_being_written_is_nobody_elses(
    registry: Registry, champion: str, product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unfinished folder is private and has a name of its own; what somebody puts there is gone before it appears."""
    place, seen = tmp_path / "line" / product, []
    original = publishing.fetch

    def spying(*given: Any) -> None:
        (incoming,) = (path for path in place.iterdir() if path.is_dir())
        seen.append((incoming.name, stat.S_IMODE(incoming.stat().st_mode)))
        (incoming / "evil.so").write_bytes(b"\x7fELF")
        (incoming / "more").mkdir()
        (incoming / "link").symlink_to("/etc/passwd")
        original(*given)

    monkeypatch.setattr(publishing, "fetch", spying)
    folder = publish(registry.promoter, product, champion, tmp_path / "line")
    ((name, mode),) = seen
    assert mode == 0o700 and len(name.removeprefix(".incoming-")) == 32 and champion not in name.split("-")
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "card.json", "signature.json", "sha256"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert {path.name for path in place.iterdir()} == {folder.name, "current.json", "publisher.pub"}


@pytest.mark.parametrize("there", [False, True], ids=["unfinished", "published"])
def test_only_what_was_generated_is_signed(
    registry: Registry, champion: str, product: str, tmp_path: Path, key: PublicKey, there: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Somebody keeps exchanging every card that appears, in the unfinished folders and in the published one."""
    line, stop, exchanged = tmp_path / "line", threading.Event(), 0
    signed: list[Mapping[str, str]] = []
    sign = Publisher.sign

    def recording(self: Publisher, kind: str, content: Mapping[str, str]) -> dict[str, str]:
        if kind == MODEL_KIND:
            signed.append(content)
        return sign(self, kind, content)

    monkeypatch.setattr(Publisher, "sign", recording)
    place = line / product
    place.mkdir(parents=True)
    if there:
        publish(registry.promoter, product, champion, line)
    found_on_disk = set()

    def attack() -> None:
        nonlocal exchanged
        while not stop.is_set():
            with suppress(OSError):
                for folder in place.iterdir():
                    with suppress(OSError, ValueError):
                        found_on_disk.add(json.loads((folder / "signature.json").read_bytes())["card"])
                    if (folder / "card.json").exists() or folder.name.startswith(".incoming-"):
                        with suppress(OSError):
                            (folder / "evil").write_text('{"threshold": 99}')
                            (folder / "evil").replace(folder / "card.json")
                            exchanged += 1

    attacker = threading.Thread(target=attack, daemon=True)
    attacker.start()
    outcomes = set()
    try:
        for _ in range(4):
            try:
                publish(registry.promoter, product, champion, line)
                outcomes.add("published")
            except Broken as problem:
                outcomes.add("refused")
                assert "somebody" in str(problem)
    finally:
        stop.set()
        attacker.join(10)
    record = version_of(registry.vic, product, champion)
    made = pointer.text(publishing._card(registry.promoter, record, status_of(registry.promoter, record)))
    wanted = hashlib.sha256(made).hexdigest()
    assert exchanged > 0 and len(signed) == 4 + there, (exchanged, outcomes)
    assert {content["card"] for content in signed} == {wanted}
    assert found_on_disk <= {wanted}
    # Once it is quiet again, everything is as it was made.
    folder = publish(registry.promoter, product, champion, line)
    assert (folder / "card.json").read_bytes() == made
    assert read_published(line, product, key).version == champion
    # What could not be removed, because somebody wrote into it at that moment, goes with the next publishing after an hour.
    for left in place.glob(".incoming-*"):
        os.utime(left, (0, 0))
    publish(registry.promoter, product, champion, line)
    assert {path.name for path in place.iterdir()} == {folder.name, "current.json", "publisher.pub"}


def _link_to(elsewhere: Path) -> Callable[[Path], None]:
    def plant(path: Path) -> None:
        elsewhere.mkdir(exist_ok=True)
        path.symlink_to(elsewhere)

    return plant


def test_planted_links_and_pipes_are_refused_or_replaced(
    registry: Registry, champion: str, product: str, tmp_path: Path, key: PublicKey
) -> None:
    digest = _digest(registry, product, champion)
    name = f"{champion}-{digest[:8]}"
    elsewhere = tmp_path / "elsewhere"

    def dangling(path: Path) -> None:
        path.symlink_to(tmp_path / "nowhere")

    # In the place of a folder: refused, and nothing is written to what a link leads to.
    for number, plant in enumerate((_link_to(elsewhere), dangling, os.mkfifo, Path.touch)):
        for inside in (product, f"{product}/{name}"):
            line = tmp_path / f"line-{number}-{inside.count('/')}"
            (line / inside).parent.mkdir(parents=True)
            plant(line / inside)
            with pytest.raises(Broken, match="is a link or no folder") as caught:
                publish(registry.promoter, product, champion, line)
            assert "\n" not in str(caught.value)
            assert not any(elsewhere.iterdir()) and not (tmp_path / "nowhere").exists()
            assert not (line / product / "current.json").exists()

    # In the place of a file: replaced, and what a link led to is as it was.
    line, secret = tmp_path / "line", tmp_path / "secret"
    secret.write_text("mine")
    folder = publish(registry.promoter, product, champion, line)
    files = [
        line / product / "current.json",
        line / product / PUBLIC_FILE,
        *(folder / n for n in ("card.json", "signature.json")),
    ]
    for put in (os.mkfifo, lambda path: path.symlink_to(secret), dangling):
        for file in files:
            file.unlink()
            put(file)
        publish(registry.promoter, product, champion, line)
        assert read_published(line, product, key).version == champion
        assert PublicKey.read(line / product / PUBLIC_FILE) == key
        assert secret.read_text() == "mine" and not (tmp_path / "nowhere").exists()
        assert all(stat.S_ISREG(file.lstat().st_mode) for file in files)

    # A folder where a file belongs, and a model that is no file, are said.
    (folder / "card.json").unlink()
    (folder / "card.json").mkdir()
    with pytest.raises(Broken, match=r"card\.json is a folder, where a file belongs; remove it"):
        publish(registry.promoter, product, champion, line)
    (folder / "card.json").rmdir()
    for put in (os.mkfifo, lambda path: path.symlink_to(secret)):
        (folder / "model.onnx").unlink()
        put(folder / "model.onnx")
        with pytest.raises(Broken, match=r"model\.onnx is a (pipe|link), not a plain file"):
            publish(registry.promoter, product, champion, line)


def test_planted_leftovers_are_swept_and_not_followed(
    registry: Registry, champion: str, product: str, tmp_path: Path, key: PublicKey
) -> None:
    place, kept = tmp_path / "line" / product, tmp_path / "kept"
    place.mkdir(parents=True)
    kept.mkdir()
    (kept / "file").touch()
    (place / ".incoming-a").symlink_to(kept)
    (place / ".incoming-b").symlink_to(tmp_path / "nowhere")
    os.mkfifo(place / ".incoming-c")
    (place / ".incoming-d").mkdir()
    (place / ".incoming-d" / "link").symlink_to(kept)
    (place / ".incoming-young").mkdir()
    old = time.time() - 7200
    for left in "abcd":
        os.utime(place / f".incoming-{left}", (old, old), follow_symlinks=False)
    publish(registry.promoter, product, champion, tmp_path / "line")
    assert [path.name for path in place.iterdir() if path.name.startswith(".incoming-")] == [".incoming-young"]
    assert (kept / "file").exists()


def test_a_place_that_cannot_be_written_is_said(registry: Registry, champion: str, product: str, tmp_path: Path) -> None:
    (tmp_path / "line").touch()
    with pytest.raises(RegistryError, match="line") as caught:
        publish(registry.promoter, product, champion, tmp_path / "line")
    assert "\n" not in str(caught.value)


def test_a_withdrawal_while_it_is_published_wins(
    registry: Registry, champion: str, product: str, tmp_path: Path, key: PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quality assurance withdraws after the sign-off was looked at and before the pointer is set."""
    set_pointer = pointer.point

    def late(*given: Any) -> None:
        sign_off(registry.ana, product, champion, "pending", "a complaint")
        assert take_off_line(product, tmp_path / "line", None, tmp_path / "no key") == "nothing"
        set_pointer(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pointer, "point", late)
        with pytest.raises(Refused, match="lost its sign-off while it was published; it is off the line again"):
            publish(registry.promoter, product, champion, tmp_path / "line")
    with pytest.raises(NotFound, match="is not published"):
        read_pointer(tmp_path / "line", product, key)


def test_taking_off_the_line(
    registry: Registry, champion: str, make_request: Make, product: str, tmp_path: Path, key: PublicKey
) -> None:
    line, own = tmp_path / "line", registry.promoter.publisher_key
    assert own is not None
    place, first = line / product, (champion, _digest(registry, product, champion))
    assert take_off_line(product, line, first, own) == "nothing"  # never published
    publish(registry.promoter, product, champion, line)
    number = _champion(registry, make_request("b", threshold=0.6))
    second = (number, _digest(registry, product, number))
    folder = publish(registry.promoter, product, number, line)

    def now() -> str:
        return read_published(line, product, key).version

    for _ in range(2):
        assert take_off_line(product, line, first, own) == "pointed"
        assert now() == champion
    before = (place / "current.json").read_bytes()
    assert take_off_line(product, line, first, own) == "pointed" and (place / "current.json").read_bytes() == before

    # In doubt the pointer goes: another digest, no folder, another key, no key, a changed card, a link, a pipe.
    def put_back() -> None:
        publish(registry.promoter, product, number, line)

    for successor, with_key in (
        ((champion, "ab" * 32), own),
        (("7", first[1]), own),
        (("../x", first[1]), own),
        (first, tmp_path / "other-key"),
        (None, own),
    ):
        put_back()
        assert take_off_line(product, line, successor, with_key) == "retracted", successor
        assert take_off_line(product, line, successor, with_key) == "nothing"
        assert not (tmp_path / "other-key").exists()
    older = place / f"{champion}-{first[1][:8]}"
    put_back()
    (older / "card.json").write_text("{}")
    assert take_off_line(product, line, first, own) == "retracted"
    put_back()
    (older / "card.json").unlink()
    os.mkfifo(older / "card.json")
    assert take_off_line(product, line, first, own) == "retracted"
    put_back()
    older.rename(tmp_path / "moved")
    older.symlink_to(tmp_path / "moved")
    assert take_off_line(product, line, first, own) == "retracted"

    # Whatever lies in the pointer's place, it goes, and what it leads to stays.
    for plant in (
        os.mkfifo,
        lambda path: path.symlink_to(folder / "card.json"),
        lambda path: (path / "deep").mkdir(parents=True),
    ):
        plant(place / "current.json")
        assert take_off_line(product, line, None, own) == "retracted"
        assert not os.path.lexists(place / "current.json") and (folder / "card.json").exists()
    os.mkfifo(place / "current.json")
    assert take_off_line(product, line, second, own) == "pointed" and now() == number
    assert retract(product, line) and not retract(product, line)


def test_taking_off_the_line_where_the_product_is_no_folder(tmp_path: Path) -> None:
    own = tmp_path / "key"
    Publisher.of(own)
    assert take_off_line("bolt", tmp_path / "nowhere", ("1", "ab" * 32), own) == "nothing"
    line = tmp_path / "line"
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "current.json").touch()
    line.mkdir()
    (line / "bolt").symlink_to(tmp_path / "real")
    assert take_off_line("bolt", line, ("1", "ab" * 32), own) == "retracted"
    assert not os.path.lexists(line / "bolt") and (tmp_path / "real" / "current.json").exists()
    for plant in (os.mkfifo, Path.touch):
        plant(line / "bolt")
        assert take_off_line("bolt", line, None, own) == "nothing"
        (line / "bolt").unlink()
    with pytest.raises(Refused, match="rename the product"):
        take_off_line("../bolt", line, None, own)


def test_a_pointer_that_cannot_be_taken_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bolt").mkdir()
    (tmp_path / "bolt" / "current.json").touch()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("registry.folder.os.unlink", denied)  # the tests may run as root, whom no permission stops
    with pytest.raises(Broken, match=r"current\.json could not be taken away \(Permission denied\)"):
        take_off_line("bolt", tmp_path, None, tmp_path / "key")

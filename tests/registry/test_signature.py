"""What a line accepts: the publisher's own files, whole and in their places, and nothing else."""

import base64
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.client.connection import Connection, sha256_of
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.sign_off import sign_off
from registry.client.versions import Registration, register
from registry.errors import Broken, NotFound, Refused
from registry.line import MODEL_KIND, POINTER_KIND, Published, read_pointer, read_published
from registry.signature import PUBLIC_FILE, PublicKey, Publisher

from .conftest import Registry

PRODUCT = "bolt"


def lay(line: Path, publisher: Publisher, product: str = PRODUCT, version: str = "1", model: bytes = b"a model") -> Path:
    """A published version, laid as ``publish`` lays it; its folder."""
    place = line / product
    place.mkdir(parents=True, exist_ok=True)
    (place / "incoming").mkdir()
    (place / "incoming" / "model.onnx").write_bytes(model)
    (place / "incoming" / "card.json").write_text(json.dumps({"threshold": 0.5}))
    digest = sha256_of(place / "incoming" / "model.onnx")
    card = sha256_of(place / "incoming" / "card.json")
    content = {"product": product, "version": version, "model": digest, "card": card}
    (place / "incoming" / "signature.json").write_text(json.dumps(publisher.sign(MODEL_KIND, content)))
    folder = (place / "incoming").rename(place / f"{version}-{digest[:8]}")
    at = "2026-11-21T12:00:00+00:00"
    pointer = {"product": product, "version": version, "folder": folder.name, "digest": digest, "at": at}
    (place / "current.json").write_text(json.dumps(publisher.sign(POINTER_KIND, pointer)))
    return folder


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher.of(tmp_path / "secrets" / "publisher-key")


@pytest.fixture
def line(tmp_path: Path, publisher: Publisher) -> Path:
    lay(tmp_path / "line", publisher)
    return tmp_path / "line"


@pytest.fixture
def pinned(tmp_path: Path, publisher: Publisher) -> PublicKey:
    (tmp_path / PUBLIC_FILE).write_text(publisher.public_pem)
    return PublicKey.read(tmp_path / PUBLIC_FILE)


def the_folder(line: Path) -> Path:
    (folder,) = (path for path in (line / PRODUCT).iterdir() if path.is_dir())
    return folder


def test_what_was_signed_is_read(line: Path, pinned: PublicKey) -> None:
    found = read_published(line, PRODUCT, pinned)
    assert (found.product, found.version, found.card, found.model) == (PRODUCT, "1", {"threshold": 0.5}, b"a model")
    assert found.at == "2026-11-21T12:00:00+00:00"


def edit(file: Path, **values: str) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _model(line: Path) -> None:
    (the_folder(line) / "model.onnx").write_bytes(b"A model")


def _card(line: Path) -> None:
    (the_folder(line) / "card.json").write_text('{"threshold": 9.5}')


def _no_model(line: Path) -> None:
    (the_folder(line) / "model.onnx").unlink()


def _unsigned(line: Path) -> None:
    (the_folder(line) / "signature.json").unlink()


def _stripped(line: Path) -> None:
    file = line / PRODUCT / "current.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in ("key", "signature")}))


def _truncated(line: Path) -> None:
    file = the_folder(line) / "signature.json"
    edit(file, signature=json.loads(file.read_text())["signature"][:40])


def _half_a_file(line: Path) -> None:
    file = the_folder(line) / "signature.json"
    file.write_bytes(file.read_bytes()[:100])


def _other_signature(line: Path) -> None:
    edit(the_folder(line) / "signature.json", signature=base64.b64encode(bytes(64)).decode())


def _pointer_version(line: Path) -> None:
    edit(line / PRODUCT / "current.json", version="2")


def _pointer_folder(line: Path) -> None:
    edit(line / PRODUCT / "current.json", folder="../elsewhere")


def _pointer_as_model(line: Path) -> None:
    shutil.copy(the_folder(line) / "signature.json", line / PRODUCT / "current.json")


def _model_and_digest(line: Path) -> None:
    """The model exchanged, and its new digest written wherever it stands."""
    folder = the_folder(line)
    (folder / "model.onnx").write_bytes(b"a worse model")
    digest = sha256_of(folder / "model.onnx")
    edit(folder / "signature.json", model=digest)
    folder.rename(folder.with_name(f"1-{digest[:8]}"))
    edit(line / PRODUCT / "current.json", digest=digest, folder=f"1-{digest[:8]}")


ALTERATIONS: dict[Callable[[Path], None], str] = {
    _model: "model.onnx has digest .* changed after it was signed",
    _card: "card.json has digest .* changed after it was signed",
    _no_model: "model.onnx is missing",
    _unsigned: "an unsigned model is not used",
    _stripped: "current.json is not signed",
    _truncated: "signature.json does not hold",
    _half_a_file: "signature.json is not readable JSON",
    _other_signature: "signature.json does not hold",
    _pointer_version: "current.json does not hold",
    _pointer_folder: "current.json does not hold",
    _pointer_as_model: "as 'changeover model 1', not as 'changeover pointer 1'",
    _model_and_digest: "current.json does not hold",
}


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__.strip("_"))
def test_every_alteration_is_refused(alter: Callable[[Path], None], line: Path, pinned: PublicKey) -> None:
    alter(line)
    with pytest.raises(Broken, match=ALTERATIONS[alter]) as caught:
        read_published(line, PRODUCT, pinned)
    assert "\n" not in str(caught.value)


PLACES = ("current.json", "signature.json", "card.json", "model.onnx")


def file_of(line: Path, name: str) -> Path:
    return (line / PRODUCT if name == "current.json" else the_folder(line)) / name


def _link(file: Path) -> None:
    """A link to the very file that belongs there."""
    file.rename(file.with_name("kept"))
    file.symlink_to("kept")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _device(file: Path) -> None:
    """An endless one. Making a device takes root; a link to one is what others can make."""
    file.unlink()
    if os.geteuid() == 0:
        os.mknod(file, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        file.symlink_to("/dev/zero")


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _socket(file: Path) -> None:
    file.unlink()
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(file.parent):  # the whole path may be too long for one
        listener.bind(file.name)


def _huge(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate((5 << 30) if file.name == "model.onnx" else (1 << 20) + 1)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", [_link, _pipe, _device, _folder, _socket, _huge], ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", PLACES)
def test_only_plain_files_are_read(plant: Callable[[Path], None], name: str, line: Path, pinned: PublicKey) -> None:
    file = file_of(line, name)
    plant(file)
    with pytest.raises(Broken, match=rf"{name} (is .* not a plain file|has [0-9]+ bytes, of which at most)") as caught:
        read_published(line, PRODUCT, pinned)
    assert "publish again" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("which", ["product", "version"])
def test_folders_that_are_links_are_refused(which: str, line: Path, tmp_path: Path, pinned: PublicKey) -> None:
    folder = line / PRODUCT if which == "product" else the_folder(line)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Broken, match="is a link or no folder"):
        read_published(line, PRODUCT, pinned)


@pytest.mark.timeout(20)
def test_what_the_administrator_names_may_be_a_link_to_a_plain_file(line: Path, tmp_path: Path, pinned: PublicKey) -> None:
    (tmp_path / "mounted").symlink_to(line)
    (tmp_path / "pinned.pub").symlink_to(tmp_path / PUBLIC_FILE)
    assert read_published(tmp_path / "mounted", PRODUCT, PublicKey.read(tmp_path / "pinned.pub")).version == "1"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-a-pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "to-zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("pipe", "to-a-pipe", "to-zero", "circle"):
        with pytest.raises(Broken, match=r"not a plain file|cannot be read"):
            PublicKey.read(tmp_path / name)
    with pytest.raises(NotFound, match="is a folder"):
        PublicKey.read(tmp_path)


@pytest.mark.parametrize(
    ("version", "digest", "folder"),
    [
        ("../bolt/1", "ab" * 32, None),
        ("1", "../../" + "a" * 58, None),
        ("1", "ab" * 32, ".."),
        ("1", "ab" * 32, "/etc"),
        ("", "ab" * 32, None),
        ("1\n", "ab" * 32, None),
    ],
)
def test_even_a_signed_pointer_leads_nowhere_else(
    line: Path, publisher: Publisher, version: str, digest: str, folder: str | None
) -> None:
    pointer = {"product": PRODUCT, "version": version, "folder": folder or f"{version}-{digest[:8]}", "digest": digest, "at": "x"}
    (line / PRODUCT / "current.json").write_text(json.dumps(publisher.sign(POINTER_KIND, pointer)))
    with pytest.raises(Broken, match="does not belong to version"):
        read_published(line, PRODUCT, publisher.public)


def test_the_pointer_alone_is_read_without_the_model(line: Path, pinned: PublicKey, tmp_path: Path) -> None:
    (the_folder(line) / "model.onnx").unlink()
    assert read_pointer(line, PRODUCT, pinned)["version"] == "1"
    with pytest.raises(Broken, match="another publisher"):
        read_pointer(line, PRODUCT, Publisher.of(tmp_path / "other").public)
    _pipe(line / PRODUCT / "current.json")
    with pytest.raises(Broken, match="is a pipe"):
        read_pointer(line, PRODUCT, pinned)


def test_garbage_is_refused_in_one_line(line: Path, pinned: PublicKey) -> None:
    pointer = line / PRODUCT / "current.json"
    for garbage in (
        b"",
        b"[]",
        b"null",
        b'{"key": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"key": "\\ud800", "signature": ""}',
        bytes(2 << 20),
    ):
        pointer.write_bytes(garbage)
        with pytest.raises(Broken) as caught:
            read_published(line, PRODUCT, pinned)
        assert "publish" in str(caught.value) and "\n" not in str(caught.value)


def test_another_version_in_its_place_is_refused(line: Path, publisher: Publisher, pinned: PublicKey) -> None:
    """All files of the older version, truly signed, in the folder of the newer one."""
    old = the_folder(line)
    new = lay(line, publisher, version="2", model=b"a newer model")
    assert read_published(line, PRODUCT, pinned).version == "2"
    for file in old.iterdir():
        shutil.copy(file, new / file.name)
    with pytest.raises(Broken, match="speaks of version '1', wanted is '2'"):
        read_published(line, PRODUCT, pinned)


def test_another_product_in_its_place_is_refused(line: Path, publisher: Publisher, pinned: PublicKey) -> None:
    lay(line, publisher, product="nut")
    shutil.rmtree(line / PRODUCT)
    shutil.copytree(line / "nut", line / PRODUCT)
    with pytest.raises(Broken, match="points at product 'nut', not 'bolt'"):
        read_published(line, PRODUCT, pinned)


def test_another_publisher_is_refused(tmp_path: Path, line: Path) -> None:
    other = Publisher.of(tmp_path / "other" / "key")
    with pytest.raises(Broken, match="another publisher"):
        read_published(line, PRODUCT, other.public)
    # One who writes the pinned key's name into a file that another key signed.
    file = line / PRODUCT / "current.json"
    forged = other.sign(
        POINTER_KIND, {k: v for k, v in json.loads(file.read_text()).items() if k not in ("kind", "key", "signature")}
    )
    pinned = Publisher.of(tmp_path / "secrets" / "publisher-key").public
    file.write_text(json.dumps(forged | {"key": pinned.fingerprint}))
    with pytest.raises(Broken, match="does not hold"):
        read_published(line, PRODUCT, pinned)


def test_nothing_published_and_no_key(tmp_path: Path, line: Path, pinned: PublicKey) -> None:
    with pytest.raises(NotFound, match="nut is not published"):
        read_published(line, "nut", pinned)
    with pytest.raises(Refused, match="rename the product"):
        read_published(line, "../bolt", pinned)
    with pytest.raises(NotFound, match="is missing"):
        PublicKey.read(tmp_path / "nowhere.pub")
    (tmp_path / "no.pub").write_text("no key")
    with pytest.raises(Broken, match="no public key in PEM"):
        PublicKey.read(tmp_path / "no.pub")


def test_the_private_key_is_made_once_and_for_nobody_else(tmp_path: Path, publisher: Publisher) -> None:
    file = tmp_path / "secrets" / "publisher-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert Publisher.of(file).public == publisher.public
    assert file.read_text().splitlines()[1] not in repr(publisher)
    file.chmod(0o640)
    with pytest.raises(Refused, match="can be read by others"):
        Publisher.of(file)
    file.chmod(0o600)
    file.write_text("no key")
    with pytest.raises(Broken, match="no private key in PEM"):
        Publisher.of(file)


def test_the_line_needs_neither_mlflow_nor_onnx() -> None:
    code = "import sys, registry.line; print({'mlflow', 'httpx', 'onnxruntime', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout == "set()\n"


Make = Callable[..., Registration]


@pytest.mark.servers
def test_publishing_signs_and_signs_again(registry: Registry, make_request: Make, product: str, tmp_path: Path) -> None:
    line, key = tmp_path / "line", tmp_path / "key"
    promoter = Connection(registry.url, registry.promoter.user, registry.promoter.password, publisher_key=key)
    version = register(registry.trainer, make_request()).version
    sign_off(registry.ana, product, version, "approved", "as good as the last one")
    promote(promoter, product)
    with pytest.raises(Refused, match="has no key to sign with"):
        publish(registry.trainer, product, version, line)
    folder = publish(promoter, product, version, line)

    def read() -> Published:
        return read_published(line, product, PublicKey.read(line / product / PUBLIC_FILE))

    first = read()
    assert (first.version, first.card["signed"]["by"]) == (version, "ana")

    # Published before there were signatures: a folder and a pointer without.
    (folder / "signature.json").unlink()
    (line / product / "current.json").write_text(json.dumps({"product": product, "version": version, "folder": folder.name}))
    publish(promoter, product, version, line)
    assert read().model == first.model

    # A new key: what the old one signed is signed again.
    key.unlink()
    with pytest.raises(Broken, match="another publisher"):
        read_published(line, product, Publisher.of(key).public)
    publish(promoter, product, version, line)
    assert read().digest == first.digest

    # Somebody changed the card, or put something else there: it is made anew, and what lay there is not signed.
    card, signature = ((folder / name).read_bytes() for name in ("card.json", "signature.json"))
    for put in (
        lambda file: file.write_text("{}"),
        lambda file: (file.unlink(), file.symlink_to("/etc/passwd")),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ):
        for name in ("card.json", "signature.json"):
            put(folder / name)
        publish(promoter, product, version, line)
        assert [(folder / name).read_bytes() for name in ("card.json", "signature.json")] == [card, signature]
        assert read().digest == first.digest
    assert Path("/etc/passwd").read_bytes() != card

"""Teachers: files and hubs that lie, images that are chosen right, a training that is repeated only where something changed."""

import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from core.errors import BadModel, BadName, BadSettings, ChangeoverError
from core.files import file_digest, write_json
from data.batch import BatchRecord, ImageRecord, images_digest
from data.sample.pictures import write_sample
from data.version import version_batch
from flows.config import read_config
from flows.errors import HubError, NoImages, PlantError
from flows.named_teacher import NamedTeacher
from flows.plant import Plant
from flows.serving.processes import ProcessMark
from flows.serving.services import connect_as
from flows.teachers import hub, train_teacher
from flows.teachers import images as teacher_images
from flows.teachers import teacher as teachers
from flows.teachers.hub import download, hub_weights
from flows.teachers.teacher import have_packaged, import_teacher, pull_teacher, used_teacher
from flows.teachers.train_teacher import TeacherOrder
from models.teachers.feature_network import feature_network
from models.teachers.teacher_file import TeacherCard, read_teacher
from registry.client.connection import Connection
from registry.client.teachers import TeacherVersion, teacher_of
from registry.client.teachers import teachers as teachers_on_record
from tests.flows.test_cli import changeover, the_error

NETWORK = "resnet10t"
NOBODY = Connection("http://127.0.0.1:9", "nobody", "nothing")
"""For what must end before anything is asked of the registry."""


def quiet(part: str, share: float | None) -> None:
    """Tells nobody."""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Of a whole classifier, as published files hold them."""
    torch.manual_seed(3)
    return dict(timm.create_model(NETWORK).state_dict())


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TeacherCard, dict[str, torch.Tensor]]]:
    """What would be registered."""
    found: list[tuple[TeacherCard, dict[str, torch.Tensor]]] = []

    def keep(connection: Connection, folder: Path) -> TeacherCard:
        teacher = read_teacher(folder)
        assert teacher is not None
        found.append((teacher.card, dict(teacher.weights)))
        return teacher.card

    monkeypatch.setattr(teachers, "register_teacher", keep)
    monkeypatch.setattr(train_teacher, "register_teacher", keep)
    return found


# Names and settings


@pytest.mark.parametrize(("text", "name", "version"), [("plant", "plant", None), ("r18.a1_in1k@12", "r18.a1_in1k", "12")])
def test_a_teacher_is_named(text: str, name: str, version: str | None) -> None:
    assert NamedTeacher.parse(text) == NamedTeacher(name, version)


@pytest.mark.parametrize(
    "text", ["", "Plant", "none", "a..b", "../plant", "plant@", "plant@0", "plant@x", "p@1@2", "a" * 52, "a\n"]
)
def test_a_name_that_names_no_teacher(text: str) -> None:
    with pytest.raises(BadName, match=r"; (try|write) ") as refused:
        NamedTeacher.parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("teacher: The Plant", ["teacher: teacher name 'The Plant'", "try 'the-plant'"]),
        ("teacher: plant@first", ["teacher: teacher 'plant@first'", "'first' is not a version"]),
        ("teachers: {name: plant@2}", ["teachers.name", "counted by the registry"]),
        ("teachers: {recipe: hope}", ["teachers.recipe 'hope'", "self-supervised"]),
        ("teachers: {budget: 30}", ["teachers.budget", "'30'", "30"]),
        ("teachers: {cron: sundays}", ["teachers.cron", "1 fields, but needs 5"]),
        ("teachers: {seed: 3}", ["teachers.seed is not a setting"]),
    ],
)
def test_settings_that_do_not_hold(tmp_path: Path, lines: str, parts: list[str]) -> None:
    (tmp_path / "changeover.yaml").write_text(lines)
    with pytest.raises(PlantError) as refused:
        read_config(tmp_path / "changeover.yaml")
    assert all(part in str(refused.value) for part in parts), str(refused.value)


def test_settings_that_hold(tmp_path: Path) -> None:
    file = tmp_path / "changeover.yaml"
    file.write_text("")
    config = read_config(file)
    assert config.named_teacher == NamedTeacher("plant", None) and config.teachers.cron == "0 2 * * 0"
    file.write_text("teacher: none\nteachers: {cron: null}")
    assert read_config(file).named_teacher is None and read_config(file).teachers.cron is None
    file.write_text("teacher: big@3")
    assert read_config(file).named_teacher == NamedTeacher("big", "3")


def test_which_one_changeovers_use(plant: Plant) -> None:
    def made(name: str, version: str) -> TeacherVersion:
        known = {"name": name, "version": version}
        return TeacherVersion(**{field: known.get(field, "") for field in TeacherVersion.__dataclass_fields__})  # type: ignore[arg-type]

    known = [made("big", "3"), made("plant", "12"), made("plant", "2"), made("plant", "1")]
    for setting, wanted in (("plant", known[1]), ("plant@2", known[2]), ("plant@3", None), ("none", None), ("small", None)):
        config = plant.config.model_copy(update={"teacher": setting})
        assert used_teacher(Plant(plant.path, config), known) is wanted
    shipped = made("imagenet", "1")
    for setting, wanted in (("plant", known[1]), ("small", shipped), ("small@1", None), ("none", None)):
        config = plant.config.model_copy(update={"teacher": setting})
        assert used_teacher(Plant(plant.path, config), [*known, shipped]) is wanted


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["import", "w.pth", "--backbone", NETWORK, "--name", "a"], ["--licence"]),
        (["train", "--recipe", "hope"], ["recipe 'hope'", "pseudo-defects"]),
        (["train", "--budget", "soon"], ["budget 'soon'"]),
        (["train", "--name", "none"], ["teacher name 'none'"]),
        (["train", "--products", "bolt"], ["product 'bolt' is not in the plant"]),
        (["train", "--seed", "-1"], ["seed -1"]),
        (["distil", "Big@1", "--name", "small"], ["teacher name 'Big'"]),
        (["list"], ["not up", "changeover up"]),
        (["train"], ["not up", "changeover up"]),
    ],
)
def test_a_command_that_cannot_start_says_why(plant: Plant, words: list[str], parts: list[str]) -> None:
    error = the_error(changeover("teachers", *words))
    assert all(part in error for part in parts), error


# Files


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_file_becomes_a_teacher(
    plant: Plant, weights: dict[str, torch.Tensor], tmp_path: Path, kept: list[tuple[TeacherCard, dict[str, torch.Tensor]]]
) -> None:
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "w.pth")
    save_file(weights, tmp_path / "w\x1b[31m.safetensors")
    for file in (tmp_path / "w.pth", tmp_path / "w\x1b[31m.safetensors"):
        import_teacher(plant, NOBODY, file, NETWORK, "big", " MIT,\nown\x1b[31m ", quiet)
    for (card, stored), file in zip(kept, ("w.pth", "w\x1b[31m.safetensors"), strict=True):
        assert (card.name, card.kind, card.settings, card.source) == ("big", "features", {"backbone": NETWORK}, "imported")
        assert card.licence == "MIT, own?[31m" and file_digest(tmp_path / file) in card.origin and "\x1b" not in card.origin
        network = feature_network("teacher", NETWORK, 3, (1, 2, 3))
        assert stored.keys() == network.state_dict().keys()
        assert torch.equal(
            stored["conv1.0.weight" if "conv1.0.weight" in stored else "conv1_0.weight"], weights["conv1.0.weight"]
        )
    assert kept[0][0].digest == kept[1][0].digest
    assert not list((plant.state / "incoming").iterdir())


def spoilt(weights: dict[str, torch.Tensor], how: str, folder: Path) -> Path:
    """A file that is not to be taken."""
    file = folder / ("w.safetensors" if how.startswith("safe") else "w.pth")
    if how == "pickle":
        file.write_bytes(pickle.dumps({"conv1.weight": Trap(folder / "trapped")}))
    elif how == "torch pickle":
        torch.save({"state_dict": weights, "more": Trap(folder / "trapped")}, file)
    elif how == "safe pickle":
        file.write_bytes(pickle.dumps(Trap(folder / "trapped")))
    elif how == "safe truncated":
        save_file(weights, file)
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "safe header":
        file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    elif how == "truncated":
        torch.save(weights, file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "no numbers":
        torch.save({**weights, "layer1.0.conv1.weight": torch.full_like(weights["layer1.0.conv1.weight"], float("nan"))}, file)
    elif how == "another network":
        torch.save(timm.create_model("resnet18").state_dict(), file)
    elif how == "a list":
        torch.save([torch.zeros(3)], file)
    elif how == "empty":
        file.touch()
    elif how == "text":
        file.write_text("weights\n" * 100)
    elif how == "a folder":
        file.mkdir()
    return file


@pytest.mark.parametrize(
    "how",
    [
        "pickle", "torch pickle", "safe pickle", "safe truncated", "safe header", "truncated", "no numbers", "another network",
        "a list", "empty", "text", "a folder", "missing",
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_one_line_and_runs_nothing(
    plant: Plant, weights: dict[str, torch.Tensor], tmp_path: Path, how: str
) -> None:
    file = spoilt(weights, how, tmp_path)
    with pytest.raises(BadModel) as refused:
        import_teacher(plant, NOBODY, file, NETWORK, "big", "MIT", quiet)
    assert "\n" not in str(refused.value) and not (tmp_path / "trapped").exists()


def test_a_file_cut_or_flipped_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    from models.teachers.teacher_file import read_weights

    kept = io.BytesIO()
    torch.save({"a": torch.arange(4.0)}, kept)
    whole, old = kept.getvalue(), pickle.dumps({"a": 1})
    draw = np.random.default_rng(5)
    for source in (whole, old):
        for _ in range(150):
            broken = bytearray(source[: int(draw.integers(0, len(source)))] if draw.random() < 0.5 else source)
            for place in draw.integers(0, max(len(broken), 1), 3):
                if broken:
                    broken[place] = int(draw.integers(0, 256))
            (tmp_path / "w.pth").write_bytes(broken)
            try:
                found = read_weights(tmp_path / "w.pth")
            except BadModel:
                continue
            assert all(isinstance(value, torch.Tensor) for value in found.values())


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "Big One"}, ["teacher name 'Big One'", "try 'big-one'"]),
        ({"licence": " \n "}, ["--licence", "0 characters"]),
        ({"licence": "x" * 1001}, ["--licence", "1001 characters"]),
        ({"backbone": "resnet5000"}, ["'resnet5000' is not known to timm"]),
    ],
)
def test_an_import_that_says_too_little(plant: Plant, tmp_path: Path, changes: dict[str, str], parts: list[str]) -> None:
    given = {"backbone": NETWORK, "name": "big", "licence": "MIT"} | changes
    with pytest.raises(ChangeoverError) as refused:
        import_teacher(plant, NOBODY, tmp_path / "w.pth", given["backbone"], given["name"], given["licence"], quiet)
    assert all(part in str(refused.value) for part in parts)


# The hub

MAIN = "/resolve/main/model.safetensors"


class Hub(http.server.ThreadingHTTPServer):
    """A hub on loopback. ``answers``: status, headers and content by path; a list of them is given one after the other."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Hub)
        self.server.asked.append(self.path)
        answers = self.server.answers.get(self.path, [(404, {}, b"")])
        status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_published_weights_become_a_teacher(
    plant: Plant,
    weights: dict[str, torch.Tensor],
    tmp_path: Path,
    near: Hub,
    kept: list[tuple[TeacherCard, dict[str, torch.Tensor]]],
) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    content, commit = (tmp_path / "w.safetensors").read_bytes(), "ab" * 20
    path = "/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
    near.answers[path] = [(503, {}, b""), (302, {"Location": "/cdn/w", "X-Repo-Commit": commit}, b"")]
    near.answers["/cdn/w"] = [(200, {}, content)]
    pull_teacher(plant, NOBODY, NETWORK, None, None, quiet)
    (card, stored), *_ = kept
    assert (card.name, card.source, card.settings) == (NETWORK, "pulled", {"backbone": NETWORK})
    assert card.licence.startswith("apache-2.0 (timm's note")
    assert all(part in card.origin for part in (commit, hashlib.sha256(content).hexdigest(), near.url + path))
    assert torch.equal(
        stored["layer1.0.conv1.weight" if "layer1.0.conv1.weight" in stored else "?"], weights["layer1.0.conv1.weight"]
    )
    assert near.asked == [path, path, "/cdn/w"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((404, {}, b""), "answered 404"),
        ((200, {"Content-Length": "1000"}, b"short"), "peer closed connection"),
        ((302, {"Location": "https://hub.invalid/w"}, b""), "could not be fetched"),
        ((302, {"Location": "/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"}, b""), "redirect"),
        ((200, {}, b"x" * 3000), "more than"),
        ((200, {}, b"<html>log in to the hotel's network</html>"), "not a readable .safetensors"),
        ((200, {}, pickle.dumps([1])), "not a readable .safetensors"),
    ],
)
def test_a_hub_that_lies_is_refused_in_one_line(
    plant: Plant, near: Hub, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, str], bytes], told: str
) -> None:
    monkeypatch.setattr(hub, "LARGEST", 2000)
    near.answers["/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"] = [answer]
    with pytest.raises((HubError, BadModel), match=told) as refused:
        pull_teacher(plant, NOBODY, NETWORK, None, None, quiet)
    assert "\n" not in str(refused.value)
    if isinstance(refused.value, HubError):
        assert "'changeover teachers import FILE' and 'changeover teachers train' need no network" in str(refused.value)


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.4)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        begin = time.monotonic()
        with pytest.raises(HubError, match="could not be fetched"):
            download(f"http://127.0.0.1:{deaf.getsockname()[1]}/w", tmp_path / "w", quiet)
        assert time.monotonic() - begin < 3
    # A resolver that hangs knows no time limit of ours.
    test_ended = threading.Event()

    def hang(*_args: Any, **_more: Any) -> None:
        test_ended.wait(30)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    begin = time.monotonic()
    with pytest.raises(HubError, match=r"nothing came from hub.invalid for 0.4 seconds"):
        download("https://hub.invalid/w", tmp_path / "w", quiet)
    assert time.monotonic() - begin < 3
    test_ended.set()


@pytest.mark.parametrize(
    ("name", "backbone", "address", "licence"),
    [
        ("resnet18", "resnet18", f"timm/resnet18.a1_in1k{MAIN}", "apache-2.0 (timm's note on timm/resnet18.a1_in1k)"),
        ("regnetx_002.pycls_in1k", "regnetx_002", f"timm/regnetx_002.pycls_in1k{MAIN}", "mit (timm's note on"),
        ("smp:tu-resnet18", "resnet18", f"timm/resnet18.a1_in1k{MAIN}", "apache-2.0"),
        ("smp:resnet18/ssl", "resnet18", "smp-hub/resnet18.ssl/resolve/d600d5116aac2e6e595f99f40612074c723c00b2/", None),
    ],
)
def test_names_of_published_weights(
    monkeypatch: pytest.MonkeyPatch, name: str, backbone: str, address: str, licence: str | None
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = hub_weights(name)
    assert (found.backbone, found.file) == (backbone, "model.safetensors")
    assert found.address.startswith(f"https://huggingface.co/{address}")
    assert found.licence == licence if licence is None else (found.licence or "").startswith(licence)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("resnet5000", "try resnet18"),
        ("resnet18.nosuch", "leave away what follows the dot"),
        ("hf-hub:someone/something", "try resnet18"),
        ("../../etc/passwd", "try resnet18"),
        ("vit_tiny_patch16_224", "format that is not read"),
        ("smp:resnet18", "it has smp:resnet18/imagenet"),
        ("smp:resnet18/nosuch", "it has smp:resnet18/imagenet"),
        ("smp:nosuch/imagenet", "try smp:resnet18/imagenet"),
        ("smp:efficientnet-b0/imagenet", "unlike any network"),
        ("smp:resnet18/imagenet", "give it with --licence TEXT"),
    ],
)
def test_names_that_are_refused_before_anything_is_asked(plant: Plant, near: Hub, name: str, part: str) -> None:
    with pytest.raises(BadSettings) as refused:
        pull_teacher(plant, NOBODY, name, "big", None, quiet)
    assert part in str(refused.value) and near.asked == []


@pytest.mark.parametrize("encoder", ["resnet18", "timm-efficientnet-b0"])
def test_the_twin_of_an_encoder_computes_the_same(encoder: str) -> None:
    import segmentation_models_pytorch as smp

    from models.teachers.feature_network import matched

    torch.manual_seed(1)
    theirs = smp.encoders.encoders[encoder]
    whole = theirs["encoder"](**{**theirs["params"], "depth": 5}).eval()
    for part in whole.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    name = hub._twin(encoder)
    assert name is not None
    ours = feature_network("teacher", name, 3, (1, 2, 3)).eval()
    ours.load_state_dict(matched(ours, whole.state_dict(), encoder))
    with torch.no_grad():
        images = torch.rand(1, 3, 64, 64)
        there = {features.shape[-1]: features for features in whole(images)}
        for features in ours(images):
            torch.testing.assert_close(features, there[features.shape[-1]])


# Images


def lay_batch(plant: Plant, product: str, batch: str, count: int, day: int, passed: bool = True, tag: bool = True) -> list[str]:
    """A validated batch of ``count`` images, the first two of which are not to be trained on; names of the others."""
    folder = plant.batch(product, batch)
    folder.good.mkdir(parents=True)
    draw, records = np.random.default_rng(day), []
    for number in range(count):
        name = f"{number:03}.png"
        Image.fromarray(draw.integers(0, 255, (40, 40), np.uint8)).save(folder.good / name)
        digest = file_digest(folder.good / name)
        records.append(ImageRecord(name=name, source_name=name, sha256=digest, bytes=1, width=40, height=40, channels=1))
    images = tuple(records)
    folder.write_record(BatchRecord(product=product, batch=batch, digest=images_digest(images), images=images))
    names = [image.name for image in images]
    write_json(folder.file("validation.json"), {"passed": passed})
    write_json(folder.file("split.json"), {"train": names[2:], "tune": names[:1], "calibrate": [], "test": names[1:2]})
    if tag:
        git(plant, day, "add", str(folder.file("batch.yaml")))
        git(plant, day, "commit", "--quiet", "--message", batch)
        git(plant, day, "tag", "--annotate", "--message", batch, f"{product}/{batch}")
    return names[2:]


def git(plant: Plant, day: int, *words: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ("git", *words)
    environment = kept | {"GIT_COMMITTER_DATE": f"2026-11-{day:02}T12:00:00Z"}
    done = subprocess.run(command, cwd=plant.path, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_newest_training_images_of_validated_batches(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_images, "MOST", 20)
    old = lay_batch(plant, "bolt", "z-old", 30, 1)
    new = lay_batch(plant, "bolt", "a-new", 14, 3)
    lay_batch(plant, "bolt", "failed", 14, 4, passed=False)
    lay_batch(plant, "bolt", "untagged", 14, 5, tag=False)
    other = lay_batch(plant, "nut", "b1", 14, 2)
    found = teacher_images.teacher_images(plant, ["bolt", "nut", "empty"], quiet)
    assert [(one.product, one.batch) for one in found.batches] == [("bolt", "a-new"), ("bolt", "z-old"), ("nut", "b1")]
    assert list(found.batches[0].images) == new and list(found.batches[2].images) == other
    rest = found.batches[1].images  # eight of 28, from the whole of it
    assert len(rest) == 8 and set(rest) < set(old) and rest[0] < "006" and rest[-1] >= "025"
    assert found.count == 20 + len(other) and found.words == f"{found.count} good images of bolt, nut"
    assert len(found.notes) == 1 and "bolt untagged is left out: git has no tag" in found.notes[0]
    for one in found.batches:
        assert one.commit == git(plant, 1, "rev-parse", f"{one.tag}^{{commit}}")
        lines = sorted(f"{file_digest(one.folder.good / name)}  {name}  \n" for name in one.images)
        assert one.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    record = found.record()["bolt"]["a-new"]
    assert record == {
        "tag": "bolt/a-new", "commit": found.batches[0].commit, "digest": found.batches[0].digest, "count": 12, "images": new,
    }  # fmt: skip
    assert found.products["bolt"] == [
        str(plant.batch("bolt", one.batch).good / n) for one in found.batches[:2] for n in one.images
    ]


def test_batches_that_do_not_hold_are_left_out_with_a_word(plant: Plant) -> None:
    for day, name in enumerate(("changed", "damaged", "foreign", "gone", "fine"), 1):
        lay_batch(plant, "bolt", name, 14, day)
    (plant.batch("bolt", "changed").good / "005.png").write_bytes(b"another")
    plant.batch("bolt", "damaged").file("validation.json").write_text("{")
    write_json(plant.batch("bolt", "foreign").file("split.json"), {"train": ["../../../../etc/passwd"]})
    shutil.rmtree(plant.batch("bolt", "gone").good)
    found = teacher_images.teacher_images(plant, ["bolt"], quiet)
    assert [one.batch for one in found.batches] == ["fine"]
    told = {note.split()[1]: note for note in found.notes}
    assert "'005.png' was changed" in told["changed"] and "is missing or damaged" in told["damaged"]
    assert "names images that batch.yaml does not" in told["foreign"] and "neither is good.dvc" in told["gone"]


@pytest.mark.slow
def test_images_that_are_not_here_are_fetched(plant: Plant) -> None:
    lay_batch(plant, "bolt", "b1", 14, 1, tag=False)
    folder = plant.batch("bolt", "b1")
    commit = version_batch(plant.path, folder)
    shutil.rmtree(folder.good)
    shutil.rmtree(plant.path / ".dvc" / "cache")
    found = teacher_images.teacher_images(plant, ["bolt"], quiet)
    assert found.notes == () and [(one.batch, one.commit) for one in found.batches] == [("b1", commit)]
    assert all(Path(path).is_file() for path in found.products["bolt"])


# Training


STAND_IN = """
import hashlib, json, os, signal, sys, yaml
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
params = yaml.safe_load(Path("params.yaml").read_text())
assert all(Path(file).is_file() for files in params["products"].values() for file in files)
with Path(os.environ["RUNS"]).open("a") as log:
    log.write(json.dumps({"params": params, "resumed": Path(".work/half").exists()}) + chr(10))
Path(".work/half").touch()
if os.environ.get("FAIL"):
    print("error: it went wrong"); sys.exit(2)
order, place = params["teacher"], Path("teacher")
place.mkdir(exist_ok=True)
save_file({"a": np.full(4, params["seed"], np.float32)}, place / "teacher.safetensors")
digest = hashlib.sha256((place / "teacher.safetensors").read_bytes()).hexdigest()
card = {"name": order["name"], "kind": "features", "settings": {"backbone": order["backbone"]}, "source": order["recipe"]}
card |= {"digest": digest, **{key: params[key] for key in ("origin", "licence", "made")}}
(place / "teacher.json").write_text(json.dumps(card))
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """A training that takes no time, in place of the real one; what it was asked for."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(tmp_path / "host.lock"))
    monkeypatch.setattr(train_teacher, "MODULE", "stand_in")
    (tmp_path / "runs").touch()
    return lambda: [json.loads(line) for line in (tmp_path / "runs").read_text().splitlines()]


def test_a_teacher_is_trained_once_for_the_same_images(
    plant: Plant,
    runs: Callable[[], list[dict[str, Any]]],
    kept: list[tuple[TeacherCard, dict[str, torch.Tensor]]],
) -> None:
    lay_batch(plant, "bolt", "b1", 14, 1)
    order = TeacherOrder("plant", "self-supervised", 20.0, seed=4)
    first = train_teacher.train_teacher(plant, NOBODY, order, ["bolt"], quiet)
    assert first.anew and first.images.count == 12
    (asked,) = runs()
    assert asked["params"]["teacher"] == {"name": "plant", "recipe": "self-supervised", "backbone": "resnet10t", "seconds": 20.0}
    assert asked["params"]["products"] == first.images.products and asked["params"]["seed"] == 4
    card = kept[0][0]
    assert card.made["products"] == first.images.record() and card.origin == "12 good images of bolt"
    assert not train_teacher.train_teacher(plant, NOBODY, order, ["bolt"], quiet).anew
    assert len(runs()) == 1 and kept[1][0] == card  # registered again, which gives the same version

    lay_batch(plant, "bolt", "b2", 14, 2)
    assert train_teacher.train_teacher(plant, NOBODY, order, ["bolt"], quiet).anew
    again = TeacherOrder("plant", "self-supervised", 20.0, seed=5)
    assert train_teacher.train_teacher(plant, NOBODY, again, ["bolt"], quiet).anew
    assert [one["resumed"] for one in runs()] == [False, False, False]  # each in an empty folder
    (plant.state / "teachers" / "plant" / "teacher" / "teacher.safetensors").write_bytes(b"spoilt")
    assert train_teacher.train_teacher(plant, NOBODY, again, ["bolt"], quiet).anew


def test_a_training_that_failed_or_was_killed_goes_on_where_it_was(
    plant: Plant,
    runs: Callable[[], list[dict[str, Any]]],
    kept: list[tuple[TeacherCard, dict[str, torch.Tensor]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lay_batch(plant, "bolt", "b1", 14, 1)
    order = TeacherOrder("plant", "pseudo-defects", 20.0)
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(ChangeoverError, match=r"train_teacher failed: it went wrong; see .*plant.log"):
        train_teacher.train_teacher(plant, NOBODY, order, ["bolt"], quiet)
    assert kept == []
    monkeypatch.delenv("FAIL")
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(wait, start_new_session=True) as orphan:  # left by a run that was killed
        mark = ProcessMark.of(orphan.pid)
        write_json(plant.state / "teachers/plant/.work/process.json", {"pid": mark.pid, "started": mark.started})
        assert train_teacher.train_teacher(plant, NOBODY, order, ["bolt"], quiet).anew
        assert not mark.alive()
    assert [one["resumed"] for one in runs()] == [False, True]


def test_a_plant_without_images(plant: Plant) -> None:
    with pytest.raises(NoImages, match=r"no batch of the plant passed validation; run a changeover first"):
        train_teacher.train_teacher(plant, NOBODY, TeacherOrder("plant", "self-supervised", 20.0), [], quiet)


def test_the_scheduled_training_does_what_the_settings_say(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.logging import disable_run_logger

    from flows import teacher_training

    orders: list[TeacherOrder] = []

    def nothing(place: Plant, connection: Connection, order: TeacherOrder, products: list[str], report: Any) -> None:
        orders.append(order)
        raise NoImages(f"none of {products}")

    monkeypatch.setattr(teacher_training, "connect_as", lambda place, service: NOBODY)
    monkeypatch.setattr(teacher_training, "train", nothing)
    lines = {"teachers": {"recipe": "self-supervised", "budget": "90s", "name": "nightly"}, "products": {"bolt": {}}}
    (plant.path / "changeover.yaml").write_text(yaml.safe_dump(lines))
    with disable_run_logger():
        assert teacher_training.train_teacher.fn(str(plant.path)) == "none of ['bolt']"  # no fault of a new plant
    assert orders == [TeacherOrder("nightly", "self-supervised", 90.0)]


# The real registry


@pytest.mark.servers
@pytest.mark.slow
def test_a_file_is_imported_listed_and_distilled_no_further(
    running: Plant, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    order = ("teachers", "import", tmp_path / "w.safetensors", "--backbone", NETWORK, "--name", "imported", "--licence", "MIT")
    told = changeover(*order, "--plant", running.path).stdout
    assert told.startswith(f"teacher imported version 1: {NETWORK}, imported, MIT; digest ") and "set 'teacher: imported'" in told
    assert "imported version 1" in changeover(*order, "--plant", running.path).stdout  # the same again is the same version
    listed = json.loads(changeover("teachers", "list", "--json", "--plant", running.path).stdout)
    (row,) = [one for one in listed["teachers"] if one["name"] == "imported"]
    assert (row["version"], row["network"], row["licence"], row["used"]) == ("1", NETWORK, "MIT", False)
    assert listed["teacher"] == "plant" and file_digest(tmp_path / "w.safetensors") in row["origin"]
    table = changeover("teachers", "list", "--plant", running.path)
    assert f"imported\t1\t{NETWORK}\timported\tMIT\t" in table.stdout and row["digest"][:12] in table.stdout
    version = teacher_of(connect_as(running, "trainer"), "imported")
    assert version.digest == row["digest"]
    refused = changeover("teachers", "distil", "imported", "--name", "imported", "--plant", running.path)
    assert "cannot be distilled into itself" in the_error(refused)
    assert "no teacher 'nosuch'" in the_error(changeover("teachers", "distil", "nosuch", "--name", "x", "--plant", running.path))


@pytest.mark.servers
def test_a_plant_has_the_packaged_teacher_from_its_first_start_on(running: Plant, plant: Plant) -> None:
    said: list[str] = []
    have_packaged(running, said.append)
    known = [one for one in teachers_on_record(connect_as(running, "trainer")) if one.name == "imagenet"]
    assert [(one.version, one.network, one.source) for one in known] == [("1", "tf_efficientnet_lite0", "imported")]
    have_packaged(running, said.append)
    assert said in ([], ["registering the teacher imagenet"])  # another test may have been first
    have_packaged(plant, said.append)  # whose servers are down: no reason for a traceback
    assert "the teacher imagenet is not registered yet" in said[-1]
    (plant.path / "changeover.yaml").write_text("teacher: none\n")
    have_packaged(Plant.open(plant.path), said.append)
    assert "not registered yet" in said[-1] and len(said) < 3


@pytest.mark.servers
@pytest.mark.slow
def test_a_pull_without_a_network_ends_soon_and_in_one_line(running: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    begin = time.monotonic()
    done = changeover("teachers", "pull", "resnet18", "--plant", running.path)
    assert done.exit_code == 2 and done.stdout == "" and time.monotonic() - begin < 20
    *_, last = done.stderr.splitlines()
    assert last.startswith(
        "error: https://hub.invalid/timm/resnet18.a1_in1k/resolve/main/model.safetensors could not be fetched: "
    )


@pytest.mark.servers
@pytest.mark.slow
def test_a_teacher_of_the_plants_own_images(
    running: Plant, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(tmp_path / "host.lock"))
    lay_batch(plant, "plate", "b1", 14, 1, tag=False)
    folder = plant.batch("plate", "b1")
    write_sample(tmp_path / "sample", 14, 1, 1)
    images = []
    for image, file in zip(folder.read_record().images, sorted((tmp_path / "sample" / "good").iterdir()), strict=True):
        shutil.copyfile(file, folder.good / image.name)
        images.append(image.model_copy(update={"sha256": file_digest(file)}))
    record = BatchRecord(product="plate", batch="b1", digest=images_digest(tuple(images)), images=tuple(images))
    folder.write_record(record)
    git(plant, 1, "add", str(folder.file("batch.yaml")))
    git(plant, 1, "commit", "--quiet", "--message", "b1")
    git(plant, 1, "tag", "--annotate", "--message", "b1", "plate/b1")
    connection = connect_as(running, "trainer")
    order = TeacherOrder("own", "pseudo-defects", 1.0, backbone="lcnet_050")
    done = train_teacher.train_teacher(plant, connection, order, ["plate"], quiet)
    assert (done.teacher.name, done.teacher.version, done.teacher.source) == ("own", "1", "pseudo-defects")
    place = plant.state / "teachers" / "own" / "teacher"
    made = json.loads((place / "teacher.json").read_text())["made"]
    assert made["products"]["plate"]["b1"]["images"] == list(done.images.batches[0].images) and made["steps"] > 0
    network = feature_network("teacher", order.backbone, 3, (1, 2, 3))
    assert load_file(place / "teacher.safetensors").keys() == network.state_dict().keys()
    assert train_teacher.train_teacher(plant, connection, order, ["plate"], quiet).teacher == done.teacher

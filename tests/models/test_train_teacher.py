"""Teachers trained here: the loss is the published one, both views show the same places, what is learned is not chance."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from core.errors import BadBatch, BadSettings
from data.batch import BatchFolder
from models.detectors.catalogue import build_detector
from models.detectors.teaching import teach, with_teacher
from models.teachers.distil import Distillation, PatchDistillation, correlation
from models.teachers.feature_network import feature_network
from models.teachers.self_supervised import SelfSupervised, at, random_affines, vicreg
from models.teachers.teacher_file import read_teacher, write_teacher
from models.train_teacher import TeacherSettings, run, train_teacher
from models.trainable import TrainingBatch
from tests.models.detector_tests import good_image

PRODUCTS = {"holes": [good_image(seed) for seed in range(4)], "coloured": [good_image(seed, 3, 96, 96) for seed in range(3)]}


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A quarter of the work a step, in one thread: steps this small only wait for a second one."""
    monkeypatch.setattr("models.train_teacher.SIDE", 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_vicreg_is_the_published_loss() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.5, (7, 3)), rng.normal(0, 2, (7, 3))
    by_hand = 25 * ((a - b) ** 2).mean()
    for z in (a, b):
        by_hand += 12.5 * np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
        covariance = np.cov(z.T)
        by_hand += ((covariance**2).sum() - (np.diag(covariance) ** 2).sum()) / 3
    assert vicreg(torch.from_numpy(a), torch.from_numpy(b)).item() == pytest.approx(by_hand, rel=1e-5)


def test_both_views_show_the_same_places() -> None:
    learner = SelfSupervised()
    # An image that says where each pixel is: what a view shows at a place is the place in the crop.
    ramp = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64)
    where = torch.stack([ramp[None].expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)])[None].repeat(8, 1, 1, 1)
    learner_views = learner.views(where, 5)
    plain = []
    g = torch.Generator().manual_seed(5)
    for affine in (random_affines(8, g), random_affines(8, g)):  # the views as they are before their exposure differs
        grid = torch.nn.functional.affine_grid(affine, [8, 3, 64, 64], align_corners=False)
        plain.append(torch.nn.functional.grid_sample(where, grid, padding_mode="reflection", align_corners=False))
    _, places, shown = learner_views
    first, second = (at(view, p)[shown][:, :2] for view, p in zip(plain, places, strict=True))
    assert shown.float().mean() > 0.3
    assert (first - second).abs().max() < 0.05, "the same place of the crop, to within a pixel and a half"
    assert first.std() > 0.3, "places differ"


def test_correlation_is_that_of_numpy() -> None:
    described = torch.randn(2, 5, 4, 6)
    flat = described.transpose(0, 1).flatten(1).numpy()
    found = np.corrcoef(flat)
    assert correlation(described).item() == pytest.approx((found[~np.eye(5, dtype=bool)] ** 2).mean(), abs=1e-6)


def test_self_supervised_features_tell_places_better_than_random_ones() -> None:
    """Of a new image, and the same under noise, the nearest feature lies at the same place more often than with random ones."""

    def hits(weights: dict[str, torch.Tensor]) -> float:
        network = feature_network("test", "resnet10t", 3, (1, 2, 3))
        network.load_state_dict(weights)
        rng = np.random.default_rng(9)
        image = cv2.GaussianBlur(rng.normal(0, 1, (128, 128, 3)), (0, 0), 2.0)
        image = torch.from_numpy(image / image.std()).permute(2, 0, 1)[None].float()
        changed = 1.3 * image - 0.3 + 2.0 * torch.from_numpy(rng.normal(0, 1, (1, 3, 128, 128))).float()
        with torch.no_grad():
            a, b = (network.train()(x)[1][0].flatten(1).T for x in (image, changed))
        nearest = torch.cdist(a, b).argmin(1)
        return float((nearest == torch.arange(len(a))).float().mean())

    rng = np.random.default_rng(1)
    textures = np.stack([cv2.GaussianBlur(rng.normal(0, 1, (64, 64, 3)), (0, 0), 2.0) for _ in range(8)])
    crops = torch.from_numpy(textures / textures.std()).permute(0, 3, 1, 2).float()
    torch.manual_seed(0)
    learner = SelfSupervised().train()
    optimiser = torch.optim.AdamW(learner.parameters(), 2e-3)
    for _ in range(15):
        optimiser.zero_grad()
        learner.training_loss(TrainingBatch(crops, torch.zeros(8, 1, 64, 64), torch.zeros(8)), 0.5).backward()
        optimiser.step()
    torch.manual_seed(0)
    random = feature_network("test", "resnet10t", 3, (1, 2, 3)).state_dict()
    assert hits(learner.network.state_dict()) > hits(random) + 0.1


@pytest.mark.parametrize("method", ["pseudo-defects", "self-supervised"])
def test_the_same_order_gives_the_same_teacher_of_one_network(method: str) -> None:
    order = TeacherSettings.model_validate({"name": "t", "recipe": method, "steps": 2})
    first, second = (train_teacher(PRODUCTS, order, 7) for _ in range(2))
    assert all(torch.equal(first.weights[key], second.weights[key]) for key in first.weights)
    assert first.weights.keys() == feature_network("test", "resnet10t", 3, (1, 2, 3)).state_dict().keys()
    other = train_teacher(PRODUCTS, order, 8)
    assert any(not torch.equal(first.weights[key], other.weights[key]) for key in first.weights)


def test_a_distilled_network_comes_to_say_what_its_parent_says(tmp_path: Path) -> None:
    write_teacher(
        tmp_path, feature_network("test", "resnet10t", 3, (1, 2, 3)).state_dict(), name="big", kind="features",
        settings={"backbone": "resnet10t"}, source="imported", origin="o", licence="l",
    )  # fmt: skip
    parent = read_teacher(tmp_path)
    assert parent is not None
    x = torch.randn(4, 3, 64, 64)
    batch = TrainingBatch(x, torch.zeros(4, 1, 64, 64), torch.zeros(4))
    for learner in (Distillation(parent="resnet10t"), PatchDistillation(sides=(17, 33))):
        learner.load_parent(parent)
        learner.prepare(x)
        optimiser = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], 3e-3)
        losses = []
        for _ in range(12):
            optimiser.zero_grad()
            loss = learner.training_loss(batch, 0.0)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]


def test_the_stage_writes_a_teacher_that_detectors_take(tmp_path: Path) -> None:
    files = []
    for number, image in enumerate(PRODUCTS["holes"]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        files.append(str(tmp_path / f"{number}.png"))
    order = {"name": "plant", "recipe": "distilled", "into": "patches", "steps": 2}
    params = {"seed": 3, "teacher": {**order, "recipe": "self-supervised", "into": "features"}, "products": {"holes": files}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    run(BatchFolder(tmp_path))
    made = read_teacher(tmp_path / "teacher")
    assert made is not None and made.card.source == "self-supervised" and made.card.made["images"] == {"holes": 4}
    (tmp_path / "teacher").rename(tmp_path / "parent")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**params, "teacher": order, "made": {"note": "x"}}))
    run(BatchFolder(tmp_path))
    patches = read_teacher(tmp_path / "teacher")
    assert patches is not None and patches.card.made["parent"]["digest"] == made.card.digest and patches.card.made["note"] == "x"
    detector = build_detector("uninformed_students", 1, with_teacher("uninformed_students", {}, patches.card))
    teach(detector, patches)
    assert torch.equal(detector.state_dict()["ensembles.0.teacher.last.weight"], patches.weights["17.last.weight"])
    assert json.loads((tmp_path / "teacher" / "teacher.json").read_text())["made"]["seed"] == 3


def test_a_killed_training_goes_on_and_gives_the_same_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.fit.CHECKPOINT_SECONDS", 0.0)
    order = TeacherSettings(name="t", recipe="self-supervised", steps=4)
    whole = train_teacher(PRODUCTS, order, 1)

    def killed(step: int, *_: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_teacher(PRODUCTS, order, 1, report=killed, checkpoint=tmp_path / "c.pt")
    again = train_teacher(PRODUCTS, order, 1, checkpoint=tmp_path / "c.pt")
    assert again.log.resumed_at == 2 and all(torch.equal(again.weights[key], whole.weights[key]) for key in whole.weights)
    assert train_teacher(PRODUCTS, order, 2, checkpoint=tmp_path / "c.pt").log.resumed_at is None


def test_orders_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(BadBatch, match="no good images"):
        train_teacher({"a": []}, TeacherSettings(name="t"), 1)
    with pytest.raises(BadSettings, match="needs a parent"):
        train_teacher(PRODUCTS, TeacherSettings(name="t", recipe="distilled"), 1)

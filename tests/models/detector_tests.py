"""What every detector must show. A new detector's test file subclasses this and names its settings."""

import copy
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import build_detector
from models.exported import ExportedInspector
from models.inspection.export import export, set_threshold
from models.inspection.inspector import Inspector, MapPooling, fit_fusion, raw_maps
from models.trainable import TrainingBatch
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit


def good_image(seed: int, channels: int = 1, height: int = 128, width: int = 160) -> np.ndarray:
    """A smooth surface with a grid of dark holes: regular structure with a little noise."""
    rng = np.random.default_rng(seed)
    image = 140 + 20 * np.sin(np.linspace(0, 3, width))[None] + rng.normal(0, 3, (height, width))
    for y in range(16, height, 32):
        for x in range(16, width, 32):
            cv2.circle(image, (x, y), 6, 50.0, -1, cv2.LINE_AA)
    return np.clip(image, 0, 255).astype(np.uint8)[..., None].repeat(channels, 2)


class DetectorTests:
    """Shape, sizes, channels, save and load, export parity, determinism, and that it learns."""

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    steps: ClassVar[int] = 60

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 224)])
    def test_map_has_the_size_of_the_image(self, channels: int, size: tuple[int, int]) -> None:
        detector = build_detector(self.name, channels, self.settings).eval()
        with torch.no_grad():
            anomaly = detector(torch.randn(2, channels, *size))
        assert anomaly.shape == (2, 1, *size) and torch.isfinite(anomaly).all()

    def test_loss_has_gradients_for_everything_that_learns(self) -> None:
        detector = build_detector(self.name, 1, self.settings).train()
        labels = torch.zeros(4, 1, 64, 64)
        labels[:2, :, 20:40, 20:40] = 1.0
        clean = torch.randn(4, 1, 64, 64)
        batch = TrainingBatch(clean + labels, labels, torch.tensor([1.0, 1.0, 0.0, 0.0]), clean)
        detector.training_loss(batch, 0.5).backward()
        graded = [p for p in detector.parameters() if p.requires_grad and p.grad is not None]
        assert graded and all(torch.isfinite(p.grad).all() for p in graded if p.grad is not None)
        assert any(p.grad.abs().sum() > 0 for p in graded if p.grad is not None)

    def test_save_and_load_give_the_same_map(self, tmp_path: Path) -> None:
        detector = build_detector(self.name, 1, self.settings).eval()
        torch.save(detector.state_dict(), tmp_path / "state.pt")
        other = build_detector(self.name, 1, self.settings)
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        x = torch.randn(1, 1, 64, 96)
        with torch.no_grad():
            assert torch.equal(detector(x), other.eval()(x))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_exported_file_agrees_on_odd_sizes(self, channels: int, tmp_path: Path) -> None:
        # Colour changes nothing of poolings and flips, and tracing takes seconds.
        poolings, flips = ([MapPooling(1, 1, 3), MapPooling(1, 4, 3)], 2) if channels == 1 else ([MapPooling(1, 1, 3)], 1)
        inspector = Inspector([build_detector(self.name, channels, self.settings)], 1.0, poolings=poolings, flips=flips).eval()
        properties = {"product": "p", "batch": "b", "detector": self.name, "threshold": "0", "pixel_threshold": "0"}
        export(inspector, tmp_path / "m.onnx", channels, properties)
        exported = ExportedInspector(tmp_path / "m.onnx")
        for height, width in ((64, 64), (75, 130), (201, 97)):
            image = np.random.default_rng(height).integers(0, 255, (height, width, channels), np.uint8)
            with torch.no_grad():
                wanted, score, _, *judged = inspector(torch.from_numpy(image)[None])
            seen = exported.inspect(image)
            assert len(judged) == exported.declines and all(bool(said) == seen.judged for said in judged)
            assert seen.map.shape == (height, width)
            assert np.abs(seen.map - wanted[0].numpy()).max() <= 1e-3
            assert seen.score == pytest.approx(float(score[0]), abs=1e-3)
        for threshold in (seen.score - 0.1, seen.score + 0.1):
            set_threshold(tmp_path / "m.onnx", threshold, threshold)
            again = ExportedInspector(tmp_path / "m.onnx")
            assert again.threshold == pytest.approx(threshold)
            assert again.inspect(image).verdict == (seen.score > again.threshold or not seen.judged)

    def fitted(self, steps: int, seed: int = 0) -> Any:
        images = [good_image(i) for i in range(8)]
        plan = CropPlan(Recipe(), measure_scale(images), 64, 0, "none", seed)
        spec = Spec(self.name, self.settings, "none", batch_size=8, side=64)
        return fit(images, plan, spec, Plan(1e9, steps))

    def test_same_seed_same_weights(self) -> None:
        (first, log), (second, _) = self.fitted(6), self.fitted(6)
        assert log.steps == (6 if first.trainable else 1) and log.ended_by == "steps"
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(a, b)

    def test_it_learns(self) -> None:
        detector, log = self.fitted(self.steps)
        assert not detector.trainable or log.losses[-1][2] < 0.9 * log.losses[0][2]
        inspector = Inspector([copy.deepcopy(detector)], 1.0).eval()
        fit_fusion(inspector, [raw_maps(inspector, good_image(i)) for i in range(20, 24)])
        for seed in range(50, 54):
            clean = good_image(seed)
            defective = clean.copy()
            cv2.line(defective, (60, 30), (100, 70), 240, 3)
            cv2.circle(defective, (80, 64), 9, 20, -1)
            with torch.no_grad():
                _, clean_score = inspector(torch.from_numpy(clean)[None])[:2]
                defect_map, defect_score = inspector(torch.from_numpy(defective)[None])[:2]
            assert defect_score > clean_score
            y, x = np.unravel_index(int(defect_map[0].argmax()), defect_map.shape[1:])
            assert 20 <= y <= 80 and 50 <= x <= 110

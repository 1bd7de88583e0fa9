"""Every family on a GPU: it trains, gives the same weights twice, goes on after a kill, exports, and agrees with the processor.

Runs wherever there is a GPU and torch; needs none of mlflow, prefect and dvc.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import NETWORKS, families
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.training import fit as training
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from models.training.number_format import computing_in, fastest_on
from tests.models.detector_tests import good_image

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
IMAGES = [good_image(seed, 1, 128, 160) for seed in range(8)]
NAMES = sorted({entry.detector.family: name for name, entry in NETWORKS.items()}.values())
"""One network of each family."""


def trained(name: str, steps: int, **more: Any) -> Any:
    family, settings = NETWORKS[name].detector.family, NETWORKS[name].settings
    crops = CropPlan(Recipe(), measure_scale(IMAGES), 64, 0, "none", 1)
    return fit(IMAGES, crops, Spec(family, settings, "none", batch_size=8, side=64), Plan(1e9, steps), **more)


def same(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def test_each_family_has_a_network_here() -> None:
    assert {NETWORKS[name].detector.family for name in NAMES} == set(families())


@pytest.mark.parametrize("name", NAMES)
def test_training_on_the_gpu_gives_the_same_weights_twice(name: str) -> None:
    (first, log), (second, _) = trained(name, 12), trained(name, 12)
    assert log.device.startswith("cuda") and log.steps == (12 if first.trainable else 1)
    assert same(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_training_goes_on_to_the_same_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not families()[NETWORKS[name].detector.family].trainable:
        pytest.skip("what is computed at once has nothing to go on from")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    def kill(step: int, *_: Any) -> None:
        if step == 7:
            raise KeyboardInterrupt

    whole, _ = trained(name, 12)
    with pytest.raises(KeyboardInterrupt):
        trained(name, 12, checkpoint=tmp_path / "c.pt", key="k", report=kill)
    resumed, log = trained(name, 12, checkpoint=tmp_path / "c.pt", key="k")
    assert log.resumed_at is not None and same(whole, resumed)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_trained_there_exports_and_agrees_with_the_processor(name: str, tmp_path: Path) -> None:
    detector, _ = trained(name, 12)
    inspector = Inspector([copy.deepcopy(detector)], 1.0).eval()
    properties = {"product": "p", "batch": "b", "detector": name, "threshold": "0", "pixel_threshold": "0"}
    export(inspector, tmp_path / "m.onnx", 1, properties)
    exported = ExportedInspector(tmp_path / "m.onnx")
    image = good_image(60, 1, 150, 130)
    with torch.no_grad():
        on_cpu, score, _ = inspector(torch.from_numpy(image)[None])
        on_gpu, _, _ = copy.deepcopy(inspector).cuda()(torch.from_numpy(image)[None].cuda())
    reach = float(on_cpu.max() - on_cpu.min()) + 1e-6
    # cuDNN multiplies in TF32, which keeps 10 bits.
    assert float((on_gpu.cpu() - on_cpu).abs().max()) <= 0.02 * reach
    assert np.abs(exported.inspect(image).map - on_cpu[0].numpy()).max() <= 1e-3
    assert exported.inspect(image).score == pytest.approx(float(score[0]), abs=1e-3)


def test_a_recent_card_computes_in_bfloat16() -> None:
    device = torch.device("cuda")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this card has no bfloat16 of its own")
    assert fastest_on(device) == "bfloat16"
    with computing_in("bfloat16", device):
        assert (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).dtype == torch.bfloat16

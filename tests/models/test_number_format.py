"""The number format of training: the faster one, on record, and the same again in a rebuild."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.training import number_format
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from models.training.number_format import Format, computing_in, fastest_on
from tests.models.detector_tests import good_image

CPU = torch.device("cpu")
SPEC = Spec("unet3plus", {"encoder": "plain8", "depth": 3, "width": 4}, "linear", batch_size=4, side=64)


def trained(form: Format | None, **more: Any) -> Any:
    images = [good_image(i) for i in range(4)]
    crops = CropPlan(Recipe(), measure_scale(images), 64, 0, "linear", 3)
    return fit(images, crops, SPEC, Plan(1e9, 4, form=form, threads=1), **more)


@pytest.mark.parametrize(("form", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_networks_compute_in_the_format_that_was_asked_for(form: Format, dtype: torch.dtype) -> None:
    with computing_in(form, CPU):
        assert torch.nn.Conv2d(3, 3, 3)(torch.ones(1, 3, 8, 8)).dtype == dtype


@pytest.mark.parametrize(("bfloat16", "wanted"), [(0.5, "bfloat16"), (1.5, "float32"), (20.0, "float32")])
def test_the_faster_format_is_taken(bfloat16: float, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fastest_on.cache_clear()
    monkeypatch.setattr(number_format, "_seconds", lambda: {"float32": 1.0, "bfloat16": bfloat16})
    assert fastest_on(CPU) == wanted
    monkeypatch.undo()
    fastest_on.cache_clear()


def test_a_processor_without_instructions_for_bfloat16_takes_float32() -> None:
    """The libraries are told to use nothing beyond AVX2, as on most office PCs."""
    imitated = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "import torch; from models.training.number_format import fastest_on; print(fastest_on(torch.device('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], env=imitated, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "float32"


def test_the_format_is_on_record_and_the_weights_follow_it() -> None:
    (coarse, told), (fine, _) = trained("bfloat16"), trained("float32")
    assert told.form == "bfloat16"
    again, log = trained("float32")
    assert log.form == "float32"
    same = [torch.equal(a, b) for a, b in zip(fine.state_dict().values(), again.state_dict().values(), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(fine.state_dict().values(), coarse.state_dict().values(), strict=True)]
    assert all(same) and not all(other)


def test_a_killed_training_goes_on_in_its_own_format(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.fit.CHECKPOINT_SECONDS", 0.0)

    def kill(step: int, *_: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("float32", checkpoint=tmp_path / "c.pt", key="k", report=kill)
    _, log = trained("bfloat16", checkpoint=tmp_path / "c.pt", key="k")
    assert log.resumed_at == 2 and log.form == "float32"

"""Which good images become templates, and what images are paired with."""

import cv2
import numpy as np
import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import build_detector
from models.detectors.template_bank import TemplateBank
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from models.training.templates import pairs_of
from models.training.trained import NetworkRecord
from models.training.warm_start import WarmSource, WarmStart
from tests.models.moved_part import moved, seen
from tests.models.test_siam_nested_unet import print_of


def other_print(seed: int) -> np.ndarray:
    """A second variant: the design mirrored along its diagonal quarter, which matches the first nowhere."""
    return np.ascontiguousarray(print_of(seed)[::-1, ::-1])


def test_of_two_variants_each_has_its_template_and_images_are_laid_on_their_own() -> None:
    images = [moved(print_of(n), shift=(n % 4, 0))[0] for n in range(6)] + [other_print(20 + n) for n in range(6)]
    found = pairs_of(images, TemplateBank(1, 0.25), 0.7)
    assert len(found.bank.pictures) in (2, 3, 4) and found.matched == 12
    for image, partner in zip(images, found.partners, strict=True):
        assert np.abs(image[16:-16, 16:-16].astype(float) - partner[16:-16, 16:-16]).mean() < 8
        assert not np.array_equal(image, partner)
    bank = found.bank
    with torch.no_grad():
        first = bank.registration(seen(print_of(50)))
        second = bank.registration(seen(other_print(51)))
    assert float(first.confidence) > 0.9 and float(second.confidence) > 0.9 and int(first.chosen) != int(second.chosen)


def test_an_image_is_never_its_own_template() -> None:
    """Noise is the same only in the same picture: what a template was laid on keeps its own."""
    images = [print_of(n) for n in range(8)]
    found = pairs_of(images, TemplateBank(1, 0.25), 0.7)
    assert found.matched >= 7
    for number, (image, partner) in enumerate(zip(images, found.partners, strict=True)):
        apart = image.astype(float) - partner
        if not np.array_equal(image, partner):
            assert apart.std() > 2.0, number  # √2 · 2 of two prints, less where sampling smooths one


def test_a_template_that_was_given_is_laid_in_the_light_of_the_image() -> None:
    image = moved(print_of(3), shift=(5, 2), light=0.7)[0]
    found = pairs_of([image], TemplateBank(1, 0.25), 0.7, [print_of(4)])
    assert found.matched == 1
    apart = image[20:-20, 20:-20].astype(float) - found.partners[0][20:-20, 20:-20]
    assert abs(apart.mean()) < 1.0 and np.abs(apart).mean() < 6


def test_where_nothing_matches_the_bank_is_empty_and_images_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    images = [
        np.clip(cv2.resize(rng.normal(120, 40, (12, 12)).astype(np.float32), (96, 96)), 0, 255).astype(np.uint8)[..., None]
        for _ in range(6)
    ]
    found = pairs_of(images, TemplateBank(1, 0.25), 0.7)
    assert found.bank.empty and found.matched == 0 and all(a is b for a, b in zip(images, found.partners, strict=True))


def test_a_bank_takes_the_number_of_templates_from_its_state() -> None:
    bank, other = TemplateBank(1, 0.25), TemplateBank(1, 0.25)
    bank.hold(torch.cat([seen(print_of(1)), seen(other_print(2))]))
    other.load_state_dict(bank.state_dict())
    x = seen(print_of(9))
    with torch.no_grad():
        one, two = bank.laid(x), other.laid(x)
    assert torch.equal(one.template, two.template) and torch.equal(one.confidence, two.confidence)
    wrong = {**bank.state_dict(), "pictures": torch.zeros(2, 3, 192, 224)}
    with pytest.raises(RuntimeError, match="pictures"):
        TemplateBank(1, 0.25).load_state_dict(wrong)


def test_of_several_templates_the_result_is_that_of_the_best_alone() -> None:
    """Batched registration against one template at a time."""
    templates = [print_of(1), other_print(2), np.ascontiguousarray(print_of(3)[:, ::-1])]
    bank = TemplateBank(1, 0.25)
    bank.hold(torch.cat([seen(one) for one in templates]))
    images = [moved(one, shift=(3.3, -4.1), turn=0.8)[0] for one in templates]
    with torch.no_grad():
        together = bank.laid(seen(*images))
        for number, template in enumerate(templates):
            single = TemplateBank(1, 0.25)
            single.hold(seen(template))
            laid = single.laid(seen(images[number]))
            assert torch.allclose(laid.template[0], together.template[number], atol=2e-3)
            assert float(laid.confidence) == pytest.approx(float(together.confidence[number]), abs=1e-4)


def test_templates_are_shown_without_their_margins() -> None:
    bank = TemplateBank(1, 0.25)
    assert bank.shown() == []
    image = print_of(1)
    bank.hold(seen(image))
    (shown,) = bank.shown()
    stretched = (image.astype(float) - image.min()) / (int(image.max()) - int(image.min())) * 255
    assert shown.shape == image.shape and np.abs(shown - stretched).max() <= 1


def test_a_warm_start_takes_what_was_learned_and_not_the_templates() -> None:
    """A network of another batch, with more templates of another size, is a start; then the batch's own templates are held."""
    settings = {"encoder": "tu-resnet10t", "depth": 3, "widths": (8, 12)}
    record = NetworkRecord("siam_nested_unet", settings, 1)
    torch.manual_seed(5)
    before = build_detector("siam_nested_unet", 1, settings)
    before.bank.hold(torch.cat([seen(print_of(1)), seen(other_print(2))]))
    source = WarmSource(product="bolt", version="3", weights_digest="0" * 64)
    warm = WarmStart(source, ((record, before.state_dict()),), None)
    state = warm.state_for(record, 0, build_detector("siam_nested_unet", 1, settings), None)
    assert state is not None
    images = [moved(print_of(n), shift=(n % 3, 0))[0][:, :160] for n in range(6)]
    spec = Spec("siam_nested_unet", settings, side=64, batch_size=4, learning_rate=1e-9, hard_negatives=False)
    plan = CropPlan(Recipe(), measure_scale(images), 64, 0, "linear", 1)
    detector, log = fit(images, plan, spec, Plan(600.0, 1, 0, threads=1), begin=lambda made: made.load_state_dict(state))
    assert 1 <= log.templates <= 4 and log.matched == 6 and detector.bank.pictures.shape[-1] == 192
    assert torch.allclose(detector.finest.weight, before.finest.weight, atol=1e-6)

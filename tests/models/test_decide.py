"""Whether a champion still fits is decided by its figures on new good parts alone."""

import numpy as np
import pytest

from models.evaluation.decide import compare

CALIBRATION = np.linspace(-1.0, 1.0, 99).tolist()


def test_a_model_that_scores_as_before_is_kept() -> None:
    assert compare(CALIBRATION[::5], 1.1, CALIBRATION, 0.01).action == "keep"


def test_one_reject_in_forty_is_no_proof_and_six_are() -> None:
    good = CALIBRATION[:40]
    assert compare([*good[1:], 1.2], 1.1, CALIBRATION, 0.01).action == "keep"
    decided = compare([*good[6:], *[1.2] * 6], 1.1, CALIBRATION, 0.01)
    assert decided.action == "retrain" and "rejects 6 of 40" in decided.reason


def test_few_calibration_images_never_promised_the_target() -> None:
    scores = [0.0] * 16 + [1.2] * 2  # two of eighteen: significantly more than 1 %, not more than one in five
    assert compare(scores, 1.1, [-0.3, -0.1, 0.1, 0.3], 0.01).action == "keep"
    assert compare(scores, 1.1, CALIBRATION, 0.01).action == "retrain"


@pytest.mark.parametrize("moved", [-6.0, 6.0])
def test_a_model_that_reacts_to_nothing_has_drifted_as_much_as_one_that_reacts_to_everything(moved: float) -> None:
    decided = compare([score + moved for score in CALIBRATION[::5]], 10.0, CALIBRATION, 0.01)
    assert decided.action == "retrain" and f"{decided.drift:+.1f} spreads" in decided.reason


def test_what_is_not_judged_is_rejected_and_says_nothing_of_drift() -> None:
    one = compare([None, *CALIBRATION[::3]], 1.1, CALIBRATION, 0.05)
    assert one.action == "keep" and "rejects 1 of 34 new good images (1 of them not judged)" in one.reason
    assert one.drift == compare(CALIBRATION[::3], 1.1, CALIBRATION, 0.05).drift
    many = compare([None] * 8 + CALIBRATION[::3], 1.1, CALIBRATION, 0.05)
    assert many.action == "retrain" and "(8 of them not judged)" in many.reason
    assert compare([None] * 3, 1.1, CALIBRATION, 0.05).reason == "the champion could not judge any of 3 new good images"

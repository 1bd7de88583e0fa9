"""Gates: what each of them holds against which limit, and what it says."""

from typing import Any

import pytest

from models.evaluation.gates import check_gates
from models.evaluation.metrics_file import Figures, QualityGate
from models.evaluation.rate import rate
from models.settings import GateLimits

GOOD: dict[str, Any] = {
    "limits": GateLimits(), "overkill": rate(1, 20), "overkill_target": 0.05, "escape": rate(30, 80),
    "easy_escape": rate(4, 40), "image_auroc": 0.95, "parity": 1e-5, "verdicts": 0, "champion": None, "remedy": "train again",
}  # fmt: skip
CHAMPION = Figures(overkill=rate(0, 20), escape=rate(30, 100), image_auroc=0.9, pixel_ap=0.5)


def checked(**changed: Any) -> dict[str, QualityGate]:
    return {gate.name: gate for gate in check_gates(**{**GOOD, **changed})}


def test_without_a_champion_there_are_five_and_all_are_met() -> None:
    found = checked()
    assert list(found) == ["overkill (lower bound)", "separation", "easy escapes", "export parity", "export verdicts"]
    assert all(gate.passed for gate in found.values())


@pytest.mark.parametrize(
    ("name", "met", "missed"),
    [
        # Two of 20 have a lower bound of 1.2 %, six of 20 one of 11.9 %: chance alone must not fail a model.
        ("overkill (lower bound)", {"overkill": rate(2, 20)}, {"overkill": rate(6, 20)}),
        ("separation", {"image_auroc": 0.8}, {"image_auroc": 0.799}),
        ("easy escapes", {"easy_escape": rate(8, 40)}, {"easy_escape": rate(9, 40)}),
        ("export parity", {"parity": 1e-3}, {"parity": 1.1e-3}),
        ("export verdicts", {"verdicts": 0}, {"verdicts": 1}),
        ("not judged", {"not_judged": rate(2, 20)}, {"not_judged": rate(3, 20)}),
        ("overkill against the champion", {"champion": CHAMPION}, {"champion": CHAMPION, "overkill": rate(3, 20)}),
        ("escape against the champion", {"champion": CHAMPION}, {"champion": CHAMPION, "escape": rate(33, 80)}),
    ],
)
def test_each_is_met_up_to_its_limit_and_no_further(name: str, met: dict[str, Any], missed: dict[str, Any]) -> None:
    assert checked(**met)[name].passed
    failed = checked(**missed)
    assert [gate.name for gate in failed.values() if not gate.passed] == [name]
    assert failed[name].value > failed[name].limit or name == "separation"


def test_what_is_not_judged_is_asked_of_models_that_decline_alone() -> None:
    assert "not judged" not in checked()
    met, failed = (checked(not_judged=rate(count, 20))["not judged"].text for count in (0, 3))
    assert met.startswith("in 0 of 20 good calibration images") and "see where the part lies" not in met
    assert failed.startswith("in 3 of 20 good calibration images") and "see where the part lies" in failed


def test_what_can_be_done_is_said_only_where_too_many_easy_defects_pass() -> None:
    assert "recalibrate" not in checked(remedy="recalibrate")["easy escapes"].text
    text = checked(remedy="recalibrate", easy_escape=rate(9, 40))["easy escapes"].text
    assert text == "9 of 40 easy pseudo-defects passed; at most 20% may (recalibrate)"


def test_a_champion_that_lets_everything_pass_asks_for_no_more_than_everything() -> None:
    weak = CHAMPION.model_copy(update={"escape": rate(80, 80)})
    found = checked(champion=weak, escape=rate(80, 80))
    assert found["escape against the champion"].limit == 1.0 and found["escape against the champion"].passed

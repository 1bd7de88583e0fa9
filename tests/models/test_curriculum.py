"""The curriculum's schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.curriculum import SCHEDULES, Schedule, advanced, difficulty_range


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(0, 1))
def test_a_range_is_never_empty_and_never_leaves_0_to_1(schedule: Schedule, progress: float, competence: float) -> None:
    low, high = difficulty_range(schedule, progress, competence)
    assert 0.0 <= low < high <= 1.0 + 1e-12


@pytest.mark.parametrize("schedule", ["linear", "root"])
def test_paced_by_progress_it_opens_from_the_easy_end_and_is_open_at_three_fifths(schedule: Schedule) -> None:
    tops = [difficulty_range(schedule, i / 100)[1] for i in range(101)]
    assert tops[0] == pytest.approx(0.2) and tops[60:] == pytest.approx([1.0] * 41)
    assert tops == sorted(tops) and all(difficulty_range(schedule, i / 100)[0] == 0.0 for i in range(101))


def test_competence_advances_only_by_mastery_and_stops_at_one() -> None:
    assert advanced(0.3, 0.49) == 0.3
    assert advanced(0.3, 0.5) == pytest.approx(0.4)
    assert advanced(0.95, 0.9) == 1.0
    assert advanced(0.3, None) == pytest.approx(0.4)
    assert difficulty_range("competence", 1.0, 0.0) == (0.0, 0.2)
    assert difficulty_range("competence", 0.0, 1.0) == (0.0, 1.0)

"""Presets and budgets."""

import pytest

from core.errors import BadSettings
from flows.presets import PRESETS, RunRequest, check_preset, parse_budget


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("8m", 480), ("1.5h", 5400), (" 10 S ", 10), ("168h", 604800)])
def test_a_budget_is_seconds(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "8 minutes", "m", "-8m", "1e3s", "8m30s", "nan s", "9s", "169h", "0m"])
def test_a_bad_budget_is_named_with_the_rule(text: str) -> None:
    with pytest.raises(BadSettings, match=r"8m") as error:
        parse_budget(text)
    assert repr(text) in str(error.value) and "\n" not in str(error.value)


def test_presets_spend_what_they_say() -> None:
    spent = {}
    for preset in PRESETS:
        params = RunRequest(preset).params()
        assert {"seed", "preset", "validate", "recipe", "tune", "train", "evaluate"} <= set(params)
        spent[preset] = params["tune"].get("seconds", 0) + params["train"]["seconds"]
    assert spent == {"quick": 240, "standard": 360, "thorough": 3600}


def test_a_budget_goes_before_the_preset_and_is_divided() -> None:
    params = RunRequest("standard", budget=400).params()
    assert (params["tune"]["seconds"], params["train"]["seconds"]) == (100, 300)


@pytest.mark.parametrize("order", [RunRequest("quick"), RunRequest("standard", budget=240), RunRequest("thorough", budget=60)])
def test_where_nothing_can_be_chosen_training_gets_all_the_time(order: RunRequest) -> None:
    params = order.params()
    assert params["tune"] == {"trials": 1} and params["train"]["seconds"] == order.seconds


def test_the_same_order_gives_the_same_params() -> None:
    assert RunRequest("standard", 360.0, 7).params() == RunRequest("standard", None, 7).params()


def test_unknown_preset_and_seed() -> None:
    with pytest.raises(BadSettings, match=r"'fast' is not one of quick, standard, thorough"):
        check_preset("fast")
    with pytest.raises(BadSettings, match="seed -1"):
        RunRequest(seed=-1)

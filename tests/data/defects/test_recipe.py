"""Recipes: their digests, which are on record in every batch, and settings that 0.1 knew."""

import pytest

from core.errors import BadSettings
from data.defects.recipe import Recipe
from data.stage import read_settings

DEFAULT = "c434e5ae8eb9d5141418e0a798aabd33488a3f35a4dfd819e8980c76f6608ad1"


def test_digests_are_those_that_batches_have_on_record() -> None:
    """Another digest is another ``defects/index.json``: no version of before would rebuild to identical."""
    assert Recipe().digest() == DEFAULT
    one_family = Recipe(families=("bezier",), clean_fraction=0.5)
    assert one_family.digest() == "909f1a4dd391c28dcf0880e6e0cbd93f045d17d781061da20baa5e7702740a94"


def test_the_setting_of_0_1_is_read_with_the_value_that_is_drawn_today_and_refused_with_the_other() -> None:
    for value in (True, None):
        recipe = read_settings({"recipe": {"saturating": value, "per_family": 6}}, "recipe", Recipe)
        assert recipe == Recipe(per_family=6) and recipe.model_dump(exclude_unset=True) == {"per_family": 6}
    assert Recipe.model_validate({"saturating": True}).digest() == DEFAULT
    with pytest.raises(BadSettings) as refused:
        read_settings({"recipe": {"saturating": False}}, "recipe", Recipe)
    assert str(refused.value) == (
        "params.yaml: recipe is \"{'saturating': False}\": "
        "saturating: labels follow the visible change, others are no longer drawn: leave it out; correct it there"
    )


@pytest.mark.parametrize(
    "bad", [{"families": ("nonsense",)}, {"families": ()}, {"size_easy": 0.02}, {"strength_easy": 1.0}, {"clean_fraction": 0.99}]
)
def test_contradictory_recipes_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Recipe.model_validate(bad)

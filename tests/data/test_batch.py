"""How products and batches may be called."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadName
from data.batch import LIBRARY, check_name


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("teacher-x", "x"),
        ("teacher-", "teacher"),
        ("teacher-teacher-m6", "m6"),
        ("Teacher-Bolt M6", "bolt-m6"),
        ("teacher-.x", "x"),
    ],
)
def test_no_product_is_called_like_a_teacher(name: str, instead: str) -> None:
    with pytest.raises(BadName, match=f"try '{instead}'$"):
        check_name("product", name)


def test_other_names_that_hold_the_word(name: str = "teacher-x") -> None:
    assert check_name("batch", name) == name
    for product in ("teacher", "teachers-chair", "my-teacher-x"):
        assert check_name("product", product) == product


@settings(max_examples=60)
@given(st.sampled_from(("product", "batch")), st.one_of(st.text(max_size=70), st.from_regex("(teacher-|library)[A-Za-z.-]{0,9}")))
def test_what_is_suggested_may_be_taken(kind: str, name: str) -> None:
    try:
        assert check_name(kind, name) == name
    except BadName as problem:
        instead = str(problem).rpartition("try '")[2].removesuffix("'")
        assert check_name(kind, instead) == instead
        assert instead != name and (kind, instead) != ("batch", LIBRARY)

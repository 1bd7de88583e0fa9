"""Pages that name tests for every hole, accident and awkward input: each test has to be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {letter: ROOT / "tests" / room for letter, room in zip("RFDM", ("registry", "flows", "data", "models"), strict=True)}


@pytest.mark.parametrize(("page", "numbers"), [("security.md", [*range(1, 22), *range(1, 13)]), ("inputs.md", [*range(1, 25)])])
def test_every_test_that_a_page_names_is_there(page: str, numbers: list[int]) -> None:
    rows = re.findall(r"^\| (\d+) \|.*?\|.*?\| (.*) \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == numbers
    for number, cell in rows:
        room, file = None, None
        found = 0
        for mark, name, test in re.findall(r"\b([RFDM]) (?=`)|`([\w./]+\.py)?(?:::(\w+))?`", cell):
            if mark:
                room = ROOMS[mark]
                continue
            if name.startswith(("benchmarks/", "tests/")):
                assert (ROOT / name).is_file(), name
                found += 1
                continue
            assert room is not None, f"row {number} does not say where {name} is"
            file = room / name if name else file
            assert file is not None and file.is_file(), (number, name)
            assert not test or f"def {test}(" in file.read_text(), (number, test)
            found += 1
        assert found, f"row {number} names no test"

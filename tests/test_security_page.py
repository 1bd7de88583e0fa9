"""docs/security.md names tests for every hole and every accident: each has to be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = {letter: ROOT / "tests" / room for letter, room in zip("RFDM", ("registry", "flows", "data", "models"), strict=True)}


def test_every_test_that_the_page_names_is_there() -> None:
    rows = re.findall(r"^\| (\d+) \|.*?\|.*?\| (.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, 22), *range(1, 13)]
    for number, cell in rows:
        room, file = None, None
        found = 0
        for mark, name, test in re.findall(r"\b([RFDM]) (?=`)|`([\w./]+\.py)?(?:::(\w+))?`", cell):
            if mark:
                room = ROOMS[mark]
                continue
            if name.startswith("benchmarks/"):
                assert (ROOT / name).is_file(), name
                continue
            assert room is not None, f"row {number} does not say where {name} is"
            file = room / name if name else file
            assert file is not None and file.is_file(), (number, name)
            assert not test or f"def {test}(" in file.read_text(), (number, test)
            found += 1
        assert found, f"row {number} names no test"

"""The arrows of the house point down: who may import whom, and which libraries stay out of which room."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.rooms import PICTURE, circle_in, folded, import_graph, picture, reduced

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"flows", "registry", "models", "data", "core"}
MAY_USE = {
    "flows": ROOMS,
    "models": {"models", "data", "core"},
    "registry": {"registry", "core"},
    "data": {"data", "core"},
    "core": {"core"},
}
MAY_NOT_LOAD = {
    "flows": set(),
    "models": {"mlflow", "prefect", "dvc"},
    "registry": {"torch", "torchvision", "timm", "segmentation_models_pytorch"},
    "data": {"torch", "torchvision", "timm", "mlflow", "prefect"},
    "core": set(),  # the standard library alone, see below
}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every import of a file, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            in_tests = file.is_relative_to(ROOT / "tests")  # these may name their neighbours
            assert node.level == 0 or in_tests, f"{file}:{node.lineno} imports relatively; write the room's name"
            yield node.lineno, (node.module or "").split(".")[0] if node.level == 0 else "tests"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_point_down(room: str) -> None:
    for file in sorted((ROOT / room).rglob("*.py")):
        for line, name in imported(file):
            place = f"{file.relative_to(ROOT)}:{line}"
            assert name not in ROOMS - MAY_USE[room], f"{place}: {room} may not use {name}"
            assert name not in MAY_NOT_LOAD[room], f"{place}: {room} may not load {name}"
            assert name != "tests", f"{place}: a room uses the tests"
            assert room != "core" or name in {"core", *sys.stdlib_module_names}, f"{place}: core needs {name}"


def test_no_module_and_no_folder_imports_in_a_circle() -> None:
    graph = import_graph()
    assert len(graph) > 250
    assert circle_in(graph) == []
    assert circle_in(folded(graph)) == [], "a folder and another one use each other"


def test_a_circle_is_found_however_long_it_is() -> None:
    chain_of_three = {"a": {"b"}, "b": {"c"}, "c": set[str](), "d": {"a", "c"}}
    assert circle_in(chain_of_three) == []
    assert circle_in(chain_of_three | {"c": {"a"}}) == ["a", "b", "c", "a"]
    assert folded({"m.x.one": {"m.y.two"}, "m.y.two": {"m.root"}, "m.root": {"m.x.other"}, "m.x.other": set()}) == {
        "m.x": {"m.y"}, "m.y": {"m.root"}, "m.root": {"m.x"},
    }  # fmt: skip
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_picture_of_the_rooms_is_that_of_the_code() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "draw it anew: python docs/rooms.py"


OWN = ROOMS | {"benchmarks", "docs", "tests", *(file.stem for file in (ROOT / "benchmarks").glob("*.py"))}


@pytest.mark.parametrize("folder", sorted(ROOMS | {"benchmarks", "docs", "tests"}))
def test_every_library_that_is_imported_is_declared(folder: str) -> None:
    """Not only brought along by another one, which may stop needing it. What is not shipped may use the group ``dev``, too."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    named = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    if folder not in ROOMS:
        named += settings["dependency-groups"]["dev"]
    declared = {canonicalize_name(Requirement(one).name) for one in named}
    brought = packages_distributions()
    for file in sorted((ROOT / folder).rglob("*.py")):
        for line, name in imported(file):
            if name not in OWN and name not in sys.stdlib_module_names:
                by = {canonicalize_name(one) for one in brought.get(name, [name])}
                assert by & declared, f"{file.relative_to(ROOT)}:{line}: {name} of {', '.join(by)} is not in pyproject.toml"


def test_no_file_holds_an_absolute_path_of_a_machine() -> None:
    for room in sorted(ROOMS):
        for file in sorted((ROOT / room).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            for place in (f"{ROOT}/", f"{Path.home()}/"):
                assert place not in text, f"{file.relative_to(ROOT)} names a folder of one machine"


PLATFORM = ("mlflow", "prefect", "dvc", "sqlalchemy", "great_expectations", "boto3")


def test_what_a_bare_gpu_machine_runs_loads_nothing_of_the_platform() -> None:
    code = (
        f"import sys; sys.path.insert(0, 'benchmarks'); sys.modules.update(dict.fromkeys({PLATFORM}));"
        "import on_gpu, models.tune, models.train, data.defects.regenerate"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

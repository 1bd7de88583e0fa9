"""What texts name is there: commands, modules with what they hold, files of the repository, and the families of decision 2."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_command

from data.defects.recipe import EXAM_FAMILIES, TRAINING_FAMILIES
from flows.cli import app

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("core", "data", "models", "registry", "flows")
CODE = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string of a Python file, docstrings and the fixed parts of f-strings among them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_a_command_that_a_hint_names_exists() -> None:
    commands = getattr(get_command(app), "commands", {})
    verbs = {name: set(getattr(command, "commands", ())) for name, command in commands.items()}
    named = 0
    for file in CODE:
        for line, text in texts(file):
            for verb, more in re.findall(r"'changeover ([a-z-]+)(?: ([a-z-]+))?", text):
                named += 1
                assert verb in verbs, f"{file.relative_to(ROOT)}:{line} names 'changeover {verb}'"
                assert not verbs[verb] or not more or more in verbs[verb], f"{file.relative_to(ROOT)}:{line}: {verb} {more}"
    assert named > 50


def test_a_module_that_a_text_names_exists_and_holds_what_is_said() -> None:
    held = {".".join(file.relative_to(ROOT).with_suffix("").parts): _held(file) for file in CODE}
    named = 0
    for file in (*CODE, *PAGES):
        lines = texts(file) if file.suffix == ".py" else enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for line, text in lines:
            for name in re.findall(rf"``?((?:{'|'.join(ROOMS)})\.[a-z_.A-Z]+)(?:\(\))?``?", text):
                if re.search(r"\.(py|yaml|md|j2)$", name) or _is_setting(name):
                    continue
                named += 1
                parts = name.split(".")
                module = next((m for n in range(len(parts), 1, -1) if (m := ".".join(parts[:n])) in held), None)
                package = ROOT.joinpath(*parts).is_dir()
                assert module or package, f"{file.relative_to(ROOT)}:{line} names {name}"
                rest = name.removeprefix(f"{module}.").split(".")[0] if module not in (None, name) else None
                assert rest is None or rest in held[str(module)], f"{file.relative_to(ROOT)}:{line} names {name}"
    assert named > 20


def _is_setting(name: str) -> bool:
    """``registry.workers`` is a line of changeover.yaml."""
    from flows.config import PlantConfig

    section, _, field = name.partition(".")
    model = type(getattr(PlantConfig(), section, None))
    return field.split(".")[0] in getattr(model, "model_fields", {})


def _held(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_a_file_that_a_text_names_exists() -> None:
    pattern = rf"\b((?:{'|'.join(ROOMS)}|tests|benchmarks)/[\w/-]+\.(?:py|j2|yaml|md))\b"
    for file in (*CODE, *PAGES):
        text = re.sub(r"```python\n.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)  # examples of new files
        for place in re.findall(pattern, text):
            assert (ROOT / place).exists(), f"{file.relative_to(ROOT)} names {place}"


def test_decision_2_counts_the_families_that_there_are() -> None:
    text = (ROOT / "docs/decisions/0002-exam-families.md").read_text(encoding="utf-8")
    words = {6: "six", 7: "seven", 10: "ten", 11: "eleven"}
    assert f"{words[len(EXAM_FAMILIES)].title()} families of pseudo-defects" in text
    assert f"{words[len(TRAINING_FAMILIES)]} training families" in " ".join(text.split())
    assert all(f"`{family}`" in text for family in EXAM_FAMILIES)

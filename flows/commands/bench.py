"""``changeover bench``."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption


def bench(
    data: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="A product with a split.csv, or a folder of products.")],
    products: Annotated[
        list[str] | None, typer.Option("--product", "-p", metavar="NAME", help="Only this one; repeatable.")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", help="quick, standard or thorough.")] = "quick",
    budget: Annotated[str | None, typer.Option("--budget", metavar="TIME", help="Tuning and training, such as 8m.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random draw.")] = 1,
    companion: Annotated[
        str | None, typer.Option("--companion", metavar="NETWORK", help="Trained beside, fused, and also measured alone.")
    ] = None,
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="NAME", help="imagenet, none, or a folder with teacher.json and its weights.")
    ] = "imagenet",
    keep: Annotated[Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep models and logs here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train on the good images of every product, measure on its real test images, and print one table of Markdown."""
    from core.errors import BadBatch
    from data.benchmark_set import find_sets, read_set
    from flows import bench as benchmark
    from flows.presets import RunRequest, check_preset, parse_budget
    from flows.terminal import answer, log, reporting

    _check(companion)
    overrides = {} if companion is None else {"train": {"companion": companion}}
    order = RunRequest(check_preset(preset), parse_budget(budget) if budget else None, seed)
    sets = [read_set(folder) for folder in find_sets(data)]
    wanted = [s for s in sets if not products or s.name in products]
    missing = sorted(set(products or ()) - {s.name for s in sets})
    if missing:
        raise BadBatch(f"product {missing[0]!r} is not in {str(data)!r}; it has {', '.join(s.name for s in sets)}")
    results = []
    with tempfile.TemporaryDirectory(prefix="changeover-bench-") as scratch:
        features = _teacher(teacher, Path(scratch))
        for number, product in enumerate(wanted, 1):
            work = (keep or Path(scratch)) / product.name
            if work.exists():
                raise BadBatch(f"{str(work)!r} exists already; give --keep another folder, so that nothing is overwritten")
            with reporting(f"{product.name} ({number} of {len(wanted)})") as report:
                results.append(benchmark.bench(product, order, work, report, overrides, features))
            log(f"{product.name}: image AUROC {results[-1]['image_auroc']:.3f}, pixel AP {results[-1]['pixel_ap']:.3f}")
    if as_json:
        print(json.dumps({"products": results}, indent=2))
        return
    for line in benchmark.markdown(results).splitlines():
        answer(line)


def _check(companion: str | None) -> None:
    """BadSettings for what would only be found out after tuning."""
    from core.errors import BadSettings

    if companion is not None:
        from models.detectors.catalogue import NETWORKS

        if companion not in NETWORKS:
            raise BadSettings(f"--companion {companion[:40]!r} is not one of {', '.join(NETWORKS)}")


def _teacher(text: str, scratch: Path) -> Path | None:
    """The folder of the teacher that ``text`` names; None without one."""
    from core.errors import BadSettings
    from flows.named_teacher import NO_TEACHER
    from models.teachers.imagenet import IMAGENET, write_imagenet
    from models.teachers.teacher_file import read_card

    if text == NO_TEACHER:
        return None
    if text == IMAGENET:
        write_imagenet(scratch / IMAGENET)
        return scratch / IMAGENET
    if read_card(Path(text)) is None:
        raise BadSettings(
            f"{text[:200]!r} holds no teacher.json; give --teacher the folder that does, or {IMAGENET}, or {NO_TEACHER}"
        )
    return Path(text)

"""``changeover teachers``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, known_product, the_plant

if TYPE_CHECKING:
    from flows.plant import Plant
    from flows.teachers.train_teacher import TeacherOrder
    from registry.client.teachers import TeacherVersion

app = typer.Typer(help="Networks whose features detectors build on, made ready before a line changes over.", no_args_is_help=True)

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="What the teacher is called from now on.")]
BackboneOption = Annotated[str, typer.Option("--backbone", metavar="NAME", help="A network of timm, or torchvision/NAME.")]


@app.callback()
def teachers() -> None:
    """Networks whose features detectors build on, made ready before a line changes over."""


@app.command("list")
def list_teachers(plant: PlantOption = None, as_json: JsonOption = False) -> None:
    """List the teachers that are registered, and which one changeovers use."""
    from flows.serving.services import connect_as
    from flows.teachers.teacher import used_teacher
    from flows.terminal import log, print_table
    from registry.client.teachers import teachers as registered

    place = the_plant(plant)
    known = registered(connect_as(place, "trainer"))
    used = used_teacher(place, known)
    if as_json:
        rows = [_facts(one) | {"used": one == used} for one in known]
        print(json.dumps({"teacher": place.config.teacher, "teachers": rows}, indent=2))
        return
    columns = ("name", "version", "network", "source", "licence", "made", "digest", "used")
    print_table("Teachers", columns, [_row(one, one == used) for one in known])
    if used is None and place.config.named_teacher is not None:
        log(
            f"changeovers shall use teacher {place.config.teacher}, which is not registered; the next one registers and uses "
            "imagenet, unless a version is named: import, pull or train it, or set 'teacher' in changeover.yaml"
        )


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors, .pth, .pt or .bin file with weights alone.")],
    name: NameOption,
    licence: Annotated[str, typer.Option("--licence", metavar="TEXT", help="What the weights may be used for.")],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="A network of timm, or torchvision/NAME; else found by its tensors."),
    ] = None,
    plant: PlantOption = None,
) -> None:
    """Register weights from a file. Nothing in it is run."""
    from flows.serving.services import connect_as
    from flows.teachers.teacher import import_teacher
    from flows.terminal import reporting

    place = the_plant(plant)
    connection = connect_as(place, "trainer")
    with reporting(f"importing {name}") as report:
        made = import_teacher(place, connection, file, backbone, name, licence, report)
    _print(place, made)


@app.command("pull")
def pull(
    hub_name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name of timm, such as resnet18.a1_in1k, or smp:ENCODER/WEIGHTS.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What it is called here; else nearly as there.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="TEXT", help="What the weights may be used for, where that is not known.")
    ] = None,
    plant: PlantOption = None,
) -> None:
    """Fetch published weights and register them. The only command that asks the internet."""
    from flows.serving.services import connect_as
    from flows.teachers.teacher import pull_teacher
    from flows.terminal import reporting

    place = the_plant(plant)
    connection = connect_as(place, "trainer")
    with reporting(f"pulling {hub_name}") as report:
        made = pull_teacher(place, connection, hub_name, name, licence, report)
    _print(place, made)


@app.command("train")
def train(
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What it is called; else as in changeover.yaml.")
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="self-supervised or pseudo-defects.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Time for training: 90s, 30m, 2h.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="The seed of every random draw.")] = 1,
    products: Annotated[str | None, typer.Option("--products", metavar="A,B", help="Of these products; else of all.")] = None,
    backbone: BackboneOption = "resnet10t",
    plant: PlantOption = None,
) -> None:
    """Train a teacher on the good images of the plant's own products. Unchanged images give the version made before."""
    from typing import cast

    from flows.config import TeacherMethod
    from flows.presets import parse_budget
    from flows.teachers.train_teacher import TeacherOrder

    place = the_plant(plant)
    settings = place.config.teachers
    wanted = cast("TeacherMethod", recipe or settings.recipe)  # the order checks it
    seconds = parse_budget(budget or settings.budget)
    chosen = [known_product(place, one.strip()) for one in products.split(",")] if products is not None else place.products()
    _train(place, TeacherOrder(name or settings.name, wanted, seconds, seed, backbone), sorted(set(chosen)))


@app.command("distil")
def distil(
    parent: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The teacher to learn from.")],
    name: NameOption,
    into: Annotated[
        str, typer.Option("--into", help="features: a smaller network. patches: for uninformed_students.")
    ] = "features",
    backbone: BackboneOption = "resnet10t",
    budget: Annotated[str, typer.Option("--budget", help="Time for training: 90s, 10m, 1h.")] = "10m",
    plant: PlantOption = None,
) -> None:
    """Train a small, fast teacher to see what a large one sees, on the good images of all products."""
    from typing import cast

    from flows.named_teacher import NamedTeacher
    from flows.presets import parse_budget
    from flows.serving.services import connect_as
    from flows.teachers.train_teacher import Into, TeacherOrder
    from registry.client.teachers import teacher_of

    place = the_plant(plant)
    named = NamedTeacher.parse(parent)
    seconds = parse_budget(budget)
    found = teacher_of(connect_as(place, "trainer"), named.name, named.version)
    order = TeacherOrder(name, "distilled", seconds, backbone=backbone, into=cast("Into", into), parent=found)
    _train(place, order, place.products())


def _train(place: "Plant", order: "TeacherOrder", products: list[str]) -> None:
    from flows.serving.services import connect_as
    from flows.teachers.train_teacher import train_teacher
    from flows.terminal import log, reporting

    connection = connect_as(place, "trainer")
    with reporting(f"teacher {order.name}") as report:
        done = train_teacher(place, connection, order, products, report)
    for note in done.images.notes:
        log(note)
    log(
        f"it has learned from {done.images.words}"
        if done.anew
        else "images, order and code are as they were: nothing was trained"
    )
    _print(place, done.teacher)


def _print(place: "Plant", made: "TeacherVersion") -> None:
    from flows.terminal import answer

    answer(
        f"teacher {made.name} version {made.version}: {made.network}, {made.source}, {made.licence}; digest {made.digest[:12]}"
    )
    named = place.config.named_teacher
    if named is None or named.name != made.name or named.version not in (None, made.version):
        what = "no teacher" if named is None else f"teacher {place.config.teacher}"
        answer(f"changeovers use {what}; for this one set 'teacher: {made.name}' in changeover.yaml")


def _facts(one: "TeacherVersion") -> dict[str, str]:
    return {
        "name": one.name,
        "version": one.version,
        "network": one.network,
        "source": one.source,
        "licence": one.licence,
        "origin": one.origin,
        "made": one.created.isoformat(),
        "digest": one.digest,
    }


def _row(one: "TeacherVersion", used: bool) -> tuple[str, ...]:
    made = one.created.astimezone().strftime("%Y-%m-%d %H:%M")
    return (one.name, one.version, one.network, one.source, one.licence, made, one.digest[:12], "used" if used else "")

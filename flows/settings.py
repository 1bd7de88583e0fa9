"""Settings and where they come from: defaults, the preset, ``changeover.yaml``, ``product.yaml``; the nearest one wins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from core.errors import BadSettings
from data.batch import check_name
from flows.config import PlantConfig, Product, ProductFile, read_product_file
from flows.plant import SETTINGS, Plant
from flows.presets import RunRequest, check_preset, parse_budget
from flows.stage_sections import SECTIONS, StageSections

PRODUCT_FILE = "product.yaml"
PLACES = (("tune", "seconds"), ("tune", "trials"), ("train", "seconds"))
"""Settings that follow from the budget, unless somebody sets them."""


@dataclass(frozen=True)
class Layer:
    """Settings by section of ``params.yaml``, and in words where they stand."""

    place: str
    sections: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting, its value, and in words where that comes from."""

    name: str
    value: Any
    origin: str


def product_file(plant: Plant, product: str) -> ProductFile:
    """``products/<product>/product.yaml``, or the defaults where there is none. PlantError names what does not hold."""
    check_name("product", product)
    return read_product_file(plant.path / "products" / product / PRODUCT_FILE)


def order_of(plant: Plant, product: str | None, preset: str | None = None, budget: str | None = None) -> RunRequest:
    """What a run may cost: as given, else as the product's file, its lines in ``changeover.yaml`` or the plant's say."""
    file = ProductFile() if product is None else product_file(plant, product)
    own = plant.config.products.get(product or "", Product())
    budget = budget or file.budget or own.budget or plant.config.budget
    preset = preset or file.preset or own.preset or plant.config.preset or "standard"
    return RunRequest(check_preset(preset), parse_budget(budget) if budget else None)


def layers(plant: Plant, product: str | None, order: RunRequest) -> list[Layer]:
    """The settings of a run, the nearest last; of any product's where ``product`` is None."""
    found = [Layer(f"preset {order.preset}", order.params()), Layer(SETTINGS, plant.config.sections())]
    if product is not None:
        found.append(Layer(f"products/{product}/{PRODUCT_FILE}", product_file(plant, product).sections()))
    return found


def merged(found: Sequence[Layer], budget: float) -> dict[str, Any]:
    """The content of ``params.yaml``. ``budget``: the order's seconds. BadSettings where settings that hold one by one
    contradict each other."""
    params: dict[str, Any] = {}
    for layer in found:
        params = _over(params, layer.sections)
    for name, model in SECTIONS.items():
        try:
            model.model_validate(params.get(name) or {})
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            files = " and ".join(layer.place for layer in found[1:] if name in layer.sections)
            raise BadSettings(f"section {name} of {files} does not hold together: {why}") from error
    if any(key in (layer.sections.get(name) or {}) for layer in found[1:] for name, key in PLACES):
        params["budget"] = budget  # else it follows from those that it gave
    return params


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with what ``above`` sets; sections are merged key by key."""
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _over(found[key], value) if both else value
    return found


def every_setting(plant: Plant, product: str | None, order: RunRequest) -> list[Setting]:
    """All settings of the plant, or those of the runs of ``product``, each with its value and where that comes from."""
    found: list[Setting] = []
    if product is None:
        own = {name for name in PlantConfig.model_fields if name not in StageSections.model_fields and name != "products"}
        for name in PlantConfig.model_fields:
            if name in own:
                found += _of_model(name, getattr(plant.config, name), name in plant.config.model_fields_set)
    where = layers(plant, product, order)
    for section, model in SECTIONS.items():
        found += _of_section(section, model, where)
    return found


def _of_model(name: str, value: Any, is_set: bool) -> Iterator[Setting]:
    """Settings of ``changeover.yaml`` itself."""
    if isinstance(value, BaseModel):
        for inner in type(value).model_fields:
            yield from _of_model(f"{name}.{inner}", getattr(value, inner), inner in value.model_fields_set)
    else:
        yield Setting(name, value, SETTINGS if is_set else "default")


def _of_section(name: str, model: type[BaseModel], where: Sequence[Layer]) -> Iterator[Setting]:
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            nested = [Layer(layer.place, dict(layer.sections.get(name) or {})) for layer in where]
            yield from (Setting(f"{name}.{one.name}", one.value, one.origin) for one in _of_section(key, inner, nested))
            continue
        setters = [layer for layer in where if key in (layer.sections.get(name) or {})]
        value = setters[-1].sections[name][key] if setters else field.get_default(call_default_factory=True)
        yield Setting(f"{name}.{key}", value, setters[-1].place if setters else "default")

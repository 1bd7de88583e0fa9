"""``changeover.yaml``: what one plant may set. Every field has a default, so the file may be empty."""

from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from core.errors import ChangeoverError
from data.batch import check_name
from data.section import Section
from flows.cron_line import check_cron
from flows.errors import PlantError
from flows.named_teacher import NO_TEACHER, NamedTeacher
from flows.presets import Preset, parse_budget
from flows.settings_file import read_settings_file
from flows.stage_sections import StageSections
from registry.server.limits import DEFAULT, MIB, Limits

Port = Annotated[int, Field(ge=1024, le=65535)]

Settings = TypeVar("Settings", bound=Section)
TeacherMethod = Literal["self-supervised", "pseudo-defects"]
"""How a teacher learns from the good images of a plant."""


class Storage(Section):
    """Where files live outside git. Relative paths are relative to the plant."""

    remote: str = ".changeover/store"
    """Where DVC keeps images and models: a folder, or `s3://bucket/prefix`."""
    publish: str = "published"
    """Folder from which the line reads its champions."""

    @field_validator("publish")
    @classmethod
    def _a_folder(cls, publish: str) -> str:
        if "://" in publish:
            raise ValueError(f"publish {publish!r} is an address, but has to be a folder; mount it and name the folder")
        return publish


class Servers(Section):
    """Wanted ports on 127.0.0.1, 1024..65535."""

    mlflow_port: Port = 5000
    """Of the MLflow server, which is the registry; the next free one is taken where it is in use."""
    prefect_port: Port = 4200
    """Of the Prefect server; likewise."""


class RequestLimits(Section):
    """What one process of the registry takes from a request or connection; the defaults are ``registry.server.limits``'."""

    body_mib: int = Field(DEFAULT.body_bytes // MIB, ge=1, le=1024)
    """Longest body of a request, in MiB."""
    artifact_mib: int = Field(DEFAULT.artifact_bytes // MIB, ge=1, le=1024**2)
    """Longest body of a request that writes an artifact, in MiB."""
    head_seconds: float = Field(DEFAULT.head_seconds, ge=1, le=600)
    """Time for a request's head."""
    silence_seconds: float = Field(DEFAULT.silence_seconds, ge=1, le=3600)
    """Time for the next part of a body."""
    body_seconds: float = Field(DEFAULT.body_seconds, ge=1, le=3600)
    """Time for a whole body that is no artifact's."""
    connections: int = Field(DEFAULT.connections, ge=8, le=10_000)
    """Open at once."""

    @model_validator(mode="after")
    def _hold_together(self) -> "RequestLimits":
        if self.artifact_mib < self.body_mib:
            raise ValueError(f"artifact_mib {self.artifact_mib} is below body_mib {self.body_mib}; allow artifacts more")
        return self

    def of_server(self) -> Limits:
        """As the registry's server takes them."""
        return Limits(
            self.body_mib * MIB,
            self.artifact_mib * MIB,
            self.head_seconds,
            self.silence_seconds,
            self.body_seconds,
            self.connections,
        )


class Registry(Section):
    """Where the registry keeps its records, and how many processes answer."""

    database: str | None = None
    """SQLAlchemy address of a PostgreSQL database. `null`: SQLite files in the plant."""
    workers: int = Field(1, ge=1, le=32)
    """Processes that answer; more than one pays with PostgreSQL."""
    trusted_proxy: str | None = None
    """IP address of a proxy whose `X-Forwarded-For` is believed. `null`: nobody's is."""
    limits: RequestLimits = RequestLimits()

    @field_validator("trusted_proxy")
    @classmethod
    def _an_address(cls, trusted_proxy: str | None) -> str | None:
        if trusted_proxy is None:
            return None
        try:
            return str(ip_address(trusted_proxy))
        except ValueError as problem:
            raise ValueError(f"trusted_proxy {trusted_proxy!r} is no IP address; write one such as 127.0.0.1") from problem

    @field_validator("database")
    @classmethod
    def _without_password(cls, database: str | None) -> str | None:
        if database is None:
            return None
        # The value itself stays out of the messages: it may hold the password.
        parts = urlsplit(database)
        if parts.scheme not in ("postgresql", "postgresql+psycopg2") or not parts.path.strip("/"):
            raise ValueError("the address has to be of the form postgresql://user@host/name; leave it out for SQLite")
        if parts.password is not None or "password" in dict(parse_qsl(parts.query)):
            raise ValueError("the address holds a password, but this file is kept in git; put it into ~/.pgpass or PGPASSWORD")
        return database


class Audit(Section):
    """Where the head of the audit trail is kept besides the plant's git history."""

    s3: str | None = None
    """`s3://bucket/prefix` with object lock. `null`: nowhere else."""
    retain_days: int = Field(3650, ge=1, le=36500)
    """How long the bucket keeps a head from being deleted."""

    @field_validator("s3")
    @classmethod
    def _an_address(cls, s3: str | None) -> str | None:
        if s3 is not None and (not s3.startswith("s3://") or not urlsplit(s3).netloc):
            raise ValueError(f"s3 {s3!r} is not of the form s3://bucket/prefix")
        return s3


class Training(Section):
    """How long and how thoroughly to train; a product's own values go before the plant's."""

    preset: Preset | None = None
    """How thorough: `quick` (4 minutes of training), `standard` (6) or `thorough` (60)."""
    budget: str | None = None
    """Time for tuning and training together, such as `8m`; instead of the preset's."""

    @field_validator("budget", mode="before")
    @classmethod
    def _readable(cls, budget: Any) -> str | None:
        return None if budget is None else _check_budget(budget)


class Product(Training):
    """A product that is changed over on a schedule."""

    images: str | None = None
    """Folder of good images for scheduled changeovers."""
    cron: str | None = None
    """When to change over by itself: minute, hour, day, month, weekday, in local time."""
    warm_start: str | None = None
    """`same` or the name of a product, whose champion training starts from. `null`: from nothing but the teacher."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        return None if cron is None else check_cron(cron)


class Teachers(Section):
    """The teacher that is trained on a schedule, from the good images of all products."""

    cron: str | None = "0 2 * * 0"
    """When to train: minute, hour, day, month, weekday, in local time. `null`: never."""
    recipe: TeacherMethod = "self-supervised"
    """How a teacher learns from the good images of a plant."""
    budget: str = "30m"
    """Time for its training."""
    name: str = "plant"
    """What it is called."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        return None if cron is None else check_cron(cron)

    @field_validator("budget", mode="before")
    @classmethod
    def _readable(cls, budget: Any) -> str:
        return _check_budget(budget)

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if _check_teacher(name).version is not None:
            raise ValueError(f"teacher {name!r} names a version, but versions are counted by the registry; give the name alone")
        return name


class PlantConfig(Training, StageSections):
    """The whole of ``changeover.yaml``."""

    storage: Storage = Storage()
    servers: Servers = Servers()
    registry: Registry = Registry()
    audit: Audit = Audit()
    signature: Literal["tags", "strict"] = "tags"
    """How signatures are given: also by setting tags in MLflow and with a command, or on the review page alone."""
    teacher: str = "plant"
    """The teacher of changeovers, `name` (its newest version) or `name@version`; `none`: none."""
    teachers: Teachers = Teachers()
    products: dict[str, Product] = Field(default_factory=dict)
    """Products that are changed over on a schedule, by name."""

    @property
    def named_teacher(self) -> NamedTeacher | None:
        """``teacher`` in its parts; None where changeovers go without one."""
        return None if self.teacher == NO_TEACHER else NamedTeacher.parse(self.teacher)

    @field_validator("teacher")
    @classmethod
    def _a_teacher(cls, teacher: str) -> str:
        if teacher != NO_TEACHER:
            _check_teacher(teacher)
        return teacher

    @field_validator("products")
    @classmethod
    def _named_well(cls, products: dict[str, Product]) -> dict[str, Product]:
        for name, product in products.items():
            try:
                check_name("product", name)
            except ChangeoverError as error:
                raise ValueError(str(error)) from error
            if product.cron and not product.images:
                raise ValueError(f"product {name!r} has a cron line but no folder of images; add 'images: FOLDER' beside it")
        return products


class ProductFile(Training, StageSections):
    """``products/<product>/product.yaml``, which may be missing: what is different about one product."""


def _check_budget(budget: Any) -> str:
    try:
        parse_budget(str(budget))
    except ChangeoverError as error:
        raise ValueError(str(error)) from error
    return str(budget)


def _check_teacher(text: str) -> NamedTeacher:
    try:
        return NamedTeacher.parse(text)
    except ChangeoverError as error:
        raise ValueError(str(error)) from error


def read_config(source: Path) -> PlantConfig:
    """Read ``changeover.yaml``; PlantError names the first value that does not hold."""
    return _read(source, PlantConfig)


def read_product_file(source: Path) -> ProductFile:
    """Read ``product.yaml``, or the defaults where there is none; PlantError names the first value that does not hold."""
    return _read(source, ProductFile) if source.exists() else ProductFile()


def _read(source: Path, model: type[Settings]) -> Settings:
    try:
        return model.model_validate(read_settings_file(source))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])[:120] or "settings"
        if first["type"] == "extra_forbidden":
            raise PlantError(f"{source}: {place} is not a setting{_meant(model, first['loc'])}") from error
        reason = first["msg"].removeprefix("Value error, ")[:400]
        given = "" if first["type"] == "value_error" else f" {_shown(first['input'])}"
        if first["type"] == "string_type" and not isinstance(first["input"], dict | list | None):
            reason += " (put it in quotes)"
        raise PlantError(f"{source}: {place}{given}: {reason[0].lower()}{reason[1:]}; correct the line") from error


def _meant(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """What a misspelt key may mean, of the keys that there are at its place."""
    known: Any = model
    for part in place[:-1]:
        field = next((f for name, f in known.model_fields.items() if (f.alias or name) == part), None)
        known = None if field is None else field.annotation
        if not (isinstance(known, type) and issubclass(known, BaseModel)):
            return "; 'changeover settings' lists all"
    keys = [field.alias or name for name, field in known.model_fields.items()]
    near = get_close_matches(str(place[-1]), keys, 1)
    return f", is {near[0]} meant? 'changeover settings' lists all" if near else "; 'changeover settings' lists all"


def _shown(value: Any) -> str:
    """A value as it was given, if it is short."""
    if isinstance(value, dict | list):
        return "(lines of its own)" if isinstance(value, dict) else f"(a list of {len(value)})"
    try:
        text = repr(value)
    except ValueError:  # a number with thousands of digits
        return f"(a long {type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:80]}…"

"""What all sections of settings have in common: those of a plant, of a product, and of a stage."""

from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Base of every section: unknown keys are refused, so that a misspelt one is noticed, and what stands below a field is its
    description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, values: Any) -> Any:
        """A line such as ``storage:`` with nothing behind it, which is left when all below is commented out, sets nothing."""
        if not isinstance(values, dict):
            return {} if values is None else values
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        return {
            key: value
            for key, value in values.items()
            if value is not None or key not in fields or NoneType in get_args(fields[key].annotation)
        }

"""Errors of the registry room.

    core.errors.ChangeoverError
    └── RegistryError
        ├── Unreachable      the registry does not answer
        ├── Refused          the registry, or a rule of ours, says no
        ├── NotFound         no such product, version or file
        └── Broken           a record, signature or digest that does not hold

Every message names the value, the rule and the fix, in one line.
"""

from core.errors import ChangeoverError


class RegistryError(ChangeoverError):
    """Base of everything that can go wrong between us and the registry."""


class Unreachable(RegistryError):
    """The registry does not answer."""


class Refused(RegistryError):
    """The registry, or a rule of ours, says no."""


class NotFound(RegistryError):
    """No such product, version or file."""


class Broken(RegistryError):
    """A record, signature or digest that does not hold."""

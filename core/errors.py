"""The one family of errors; each room adds its own (``flows.errors``, ``registry.errors``).

    ChangeoverError
    ├── BadName          a product, batch or file name that breaks the naming rule
    ├── BadImage         one image that cannot be used (ingest records it and goes on)
    ├── BadBatch         a batch that cannot be used, or that contradicts what is on record
    ├── BadSettings      settings that contradict each other or the batch
    ├── BadModel         a model file that is damaged or not one of ours
    ├── OutOfSpace       a copy that did not fit on the disk
    └── StorageError     a store of images and models, or a bucket, that does not do what it should

Every message names the value, the rule and the fix, in one line. The command line turns it into that line and a non-zero exit
code.
"""


class ChangeoverError(Exception):
    """Base of everything a user can cause and a user can fix."""


class BadName(ChangeoverError):
    """A product, batch or file name that breaks the naming rule."""


class BadImage(ChangeoverError):
    """One image that cannot be used."""


class BadBatch(ChangeoverError):
    """A batch that cannot be used, or that contradicts what is on record."""


class BadSettings(ChangeoverError):
    """Settings that contradict each other or the batch."""


class BadModel(ChangeoverError):
    """A model file that is damaged or not one of ours."""


class OutOfSpace(ChangeoverError):
    """A copy that did not fit on the disk."""


class StorageError(ChangeoverError):
    """A store of images and models, or a bucket, that does not do what it should."""

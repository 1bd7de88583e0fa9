"""Errors of the flows room; all are ``core.errors.ChangeoverError``, so that one handler turns them into one line.

ChangeoverError
├── PlantError       a folder that is no plant, or settings in changeover.yaml that do not hold
│   └── CopiedPlant  a copy of a plant that was not adopted yet
├── BackupError      a backup that cannot be made, or cannot be restored
├── ServerError      a server that does not start, or is not up
├── StageError       a stage of the pipeline that ended without its outputs
├── HubError         pretrained weights that could not be fetched from where they are published
└── NoImages         no good images that a teacher may be trained on
"""

from core.errors import ChangeoverError


class PlantError(ChangeoverError):
    """A folder that is no plant, or settings in changeover.yaml that do not hold."""


class CopiedPlant(PlantError):
    """A copy of a plant that was not adopted yet."""


class BackupError(ChangeoverError):
    """A backup that cannot be made, or cannot be restored."""


class ServerError(ChangeoverError):
    """A server that does not start, or is not up."""


class StageError(ChangeoverError):
    """A stage of the pipeline that ended without its outputs."""


class HubError(ChangeoverError):
    """Pretrained weights that could not be fetched from where they are published."""


class NoImages(ChangeoverError):
    """No good images that a teacher may be trained on."""

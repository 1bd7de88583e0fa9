"""What tests of several detectors share."""

import pytest

from models.teachers.imagenet import write_imagenet
from models.teachers.teacher_file import TeacherFile, read_teacher


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    """The teacher that every plant has."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_imagenet(folder)
    found = read_teacher(folder)
    assert found is not None
    return found

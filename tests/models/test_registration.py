"""Registration against moves that are known, against OpenCV's, and in the exported file."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from core.errors import BadSettings
from data.image import read_image
from data.sample.pictures import render_good
from data.table import read_table
from models.detectors.registration import Registration, visible
from models.detectors.template_frame import Registered, inverse
from models.inspection.inspector import MARGIN
from tests.models.detector_tests import good_image
from tests.models.moved_part import moved, seen

BOARDS = sorted((Path(__file__).parents[3] / "shared" / "data").glob("pcb-*/split.csv"))
PLATE = render_good(0, 1)
MOVES = [
    {},
    {"shift": (10.0, 0.0)},
    {"shift": (-4.3, 6.7), "turn": 1.0, "light": 1.3},
    {"shift": (2.5, -9.1), "turn": -3.0, "scale": 0.98, "light": 0.7},
    {"shift": (-7.0, -7.0), "turn": 3.0, "scale": 1.02, "blur": 0.8},
]


def holding(image: np.ndarray) -> Registration:
    registration = Registration().eval()
    registration.hold(seen(image))
    return registration


def places(found: Registered, height: int, width: int) -> np.ndarray:
    """Where pixels of the template lie in the image, (2, h, w), in px of both without their margins."""
    affine, frame = found.affine[0].double().numpy(), found.frame
    y, x = np.mgrid[0:height:8, 0:width:8]
    middle = np.array([frame.width, frame.height])[:, None, None] / 2 - MARGIN - 0.5
    u, v = (np.stack([x, y]) - middle) / frame.unit
    return np.einsum("ij,jhw->ihw", affine[:2], np.stack([u, v, np.ones_like(u)])) * frame.unit + middle


def mean_error(found: Registered, affine: np.ndarray, height: int, width: int) -> float:
    """Px between where the template's pixels are found and where ``affine`` (2, 3) takes them, over those still in the image."""
    y, x = np.mgrid[0:height:8, 0:width:8]
    true = np.einsum("ij,jhw->ihw", affine, np.stack([x, y, np.ones_like(x)]))
    inside = (true >= 0).all(0) & (true[0] < width) & (true[1] < height)
    return float(np.hypot(*(places(found, height, width) - true))[inside].mean())


def by_opencv(template: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where OpenCV finds the template's pixels in the image, (2, 3)."""
    start = np.eye(2, 3, dtype=np.float32)
    return np.asarray(cv2.findTransformECC(template[..., 0], image[..., 0], start, cv2.MOTION_AFFINE, (3, 200, 1e-7))[1])


@torch.no_grad()
@pytest.mark.parametrize("move", MOVES)
def test_a_known_move_is_found_to_a_twentieth_of_a_pixel(move: dict) -> None:
    image, affine = moved(PLATE, **move)
    found = holding(PLATE)(seen(image))
    assert mean_error(found, affine, 256, 256) < 0.05
    assert float(found.confidence) > 0.95


@torch.no_grad()
@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_part_is_found_where_opencv_finds_it(number: int) -> None:
    """Two plates have other brushing, prints and noise, and lie a little elsewhere: nobody knows where exactly."""
    image, _ = moved(render_good(number, 1), (3.0, -5.0), 1.5, 1.01)
    assert mean_error(holding(PLATE)(seen(image)), by_opencv(PLATE, image), 256, 256) < 0.3


@torch.no_grad()
@pytest.mark.skipif(not BOARDS, reason="no boards beside the repository (shared/data/pcb-*)")
@pytest.mark.parametrize("board", [path.parent.name for path in BOARDS] or ["none"])
def test_a_defective_board_is_found_on_its_good_template(board: str) -> None:
    """The set's templates are up to 3 px off; where they really lie OpenCV says, and a move that is known comes on top."""
    folder = next(path.parent for path in BOARDS if path.parent.name == board)
    rows = [row for _, row in read_table(folder / "split.csv", ("file", "template")).lines]
    errors = []
    for row, move in zip([row for row in rows if row["file"].startswith("defect")], MOVES[1:], strict=False):
        template, image = (read_image(folder / row[name])[..., :1] for name in ("template", "file"))
        shifted, affine = moved(image, **move)
        found = holding(template)(seen(shifted))
        assert float(found.confidence) > 0.8
        errors.append(mean_error(found, affine @ np.vstack([by_opencv(template, image), [0, 0, 1]]), *image.shape[:2]))
    assert np.mean(errors) < 0.3


@torch.no_grad()
def test_what_shows_something_else_is_not_found() -> None:
    registration, rng = holding(PLATE), np.random.default_rng(0)
    noise = rng.integers(0, 255, (256, 256, 1), np.uint8)
    clouds = cv2.normalize(cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 12), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    flat = np.full((256, 256, 1), 90, np.uint8)
    others = seen(noise, clouds[..., None].astype(np.uint8), good_image(0, 1, 256, 256), flat)
    assert float(registration(others).confidence.max()) < 0.5
    assert float(Registration()(seen(PLATE)).confidence) == 0.0  # it holds no template


@torch.no_grad()
def test_what_leaves_too_little_to_see_is_not_found() -> None:
    part = seen(np.ascontiguousarray(PLATE[:, :60]))
    assert float(holding(PLATE)(part).confidence) == 0.0
    whole = holding(PLATE)(seen(np.ascontiguousarray(PLATE[:200, :230])))
    assert float(whole.confidence) > 0.95  # a smaller image that shows most of it


@torch.no_grad()
def test_the_smaller_of_equal_shifts_is_taken() -> None:
    """On a grid of holes every 32 px, a shift by 32 px looks alike."""
    image = good_image(3, 1, 256, 256)
    assert mean_error(holding(image)(seen(image)), np.eye(2, 3), 256, 256) < 0.05


@torch.no_grad()
def test_maps_come_back_to_where_the_image_shows_them() -> None:
    image, affine = moved(PLATE, (6.0, -4.0), 2.0)
    images = seen(image)
    found = holding(PLATE)(images)
    spot = torch.zeros(1, 1, found.frame.height, found.frame.width)
    spot[0, 0, MARGIN + 78 : MARGIN + 83, MARGIN + 148 : MARGIN + 153] = 1.0  # around (150, 80)
    back = found.back(spot, images)[0, 0].double()
    assert back.shape == images.shape[2:]
    y, x = (float((back.sum(side) * torch.arange(back.shape[1 - side])).sum() / back.sum()) - MARGIN for side in (1, 0))
    assert np.hypot(*(np.array([x, y]) - affine @ [150, 80, 1])) < 0.1
    there = found.warped(images)[0, 0, MARGIN : MARGIN + 256, MARGIN : MARGIN + 256]
    unlike = (there - seen(PLATE)[0, 0, MARGIN : MARGIN + 256, MARGIN : MARGIN + 256]).abs()
    assert float(unlike[20:-20, 20:-20].mean()) < 0.05


def test_an_image_ends_where_its_margins_begin() -> None:
    pixels = torch.randn(2, 3, 40, 50)
    pixels[:, :, 5:9, 7:20] = 0.0  # exactly the mean, inside
    shown = visible(nn.functional.pad(pixels, (16, 30, 16, 8)))
    assert torch.equal(shown, nn.functional.pad(torch.ones(2, 1, 40, 50), (16, 30, 16, 8)))
    assert not visible(torch.zeros(1, 1, 8, 8)).any()


def test_an_inverse_undoes_its_map() -> None:
    affine = torch.eye(3) + torch.tensor([[0.1, -0.05, 0.3], [0.08, -0.1, -0.2], [0.0, 0.0, 0.0]])
    assert torch.allclose(inverse(affine[None])[0], torch.linalg.inv(affine), atol=1e-6)


class Exposed(nn.Module):
    """Everything that a registration gives, as one graph."""

    def __init__(self, registration: Registration) -> None:
        super().__init__()
        self.registration = registration

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.registration(images)
        warped = found.warped(images)
        return found.affine, found.confidence, warped, found.back(warped, images)


def test_the_exported_graph_finds_the_same() -> None:
    model, file = Exposed(holding(PLATE)).eval(), io.BytesIO()
    names = ["affine", "confidence", "warped", "back"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in models.inspection.export
        torch.onnx.export(
            model, (torch.randn(1, 1, 96, 128),), file, input_names=["x"], output_names=names, opset_version=17, dynamo=False,
            dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
        )  # fmt: skip
    session = ort.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    batch = seen(*(moved(render_good(i, 1), **MOVES[i])[0] for i in range(5)))
    for images in (batch, seen(PLATE[:250, :201]), seen(rng.integers(0, 255, (75, 300, 1), np.uint8))):
        with torch.no_grad():
            wanted = model(images)
        for one, other in zip(wanted, session.run(names, {"x": images.numpy()}), strict=True):
            assert np.abs(one.numpy() - other).max() < 1e-3


def test_a_template_of_any_size_is_loaded() -> None:
    registration, other = holding(PLATE[:, :200]), Registration()
    other.load_state_dict(registration.state_dict())
    images = seen(PLATE)
    assert torch.equal(registration(images).affine, other(images).affine)
    state = registration.state_dict()
    del state["levels.0.picture"]
    with pytest.raises(RuntimeError, match=r"levels\.0\.picture"):
        other.load_state_dict(state)


def test_a_window_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(BadSettings, match=r"search 0\.6 must be 0 to 0\.5"):
        Registration(0.6)

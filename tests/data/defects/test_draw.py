"""Pseudo-defects: deterministic, labelled by what changed, ordered by difficulty."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import BadBatch
from data.defects import blend, fills, shapes
from data.defects.canvas import Canvas
from data.defects.draw import draw_crop, draw_exam
from data.defects.exam import EXAMS
from data.defects.families import FAMILIES
from data.defects.foreground import foreground, rim
from data.defects.library import Cutout, lay_library, read_library
from data.defects.lines import crack
from data.defects.recipe import EXAM_FAMILIES, TRAINING_FAMILIES, Recipe
from data.defects.scale import BatchScale, measure_scale


def brushed(seed: int, height: int = 160, width: int = 200, channels: int = 1) -> np.ndarray:
    """A brushed surface with a printed bar: texture, structure and flat parts."""
    rng = np.random.default_rng(seed)
    grain = cv2.blur(rng.normal(0, 14, (height, width)).astype(np.float32), (31, 1))
    image = 120 + 3 * grain + rng.normal(0, 2, (height, width))
    image[40:60, 30:150] = 40
    return np.clip(image, 0, 255).astype(np.uint8)[..., None].repeat(channels, 2)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [brushed(i) for i in range(6)]


@pytest.fixture(scope="module")
def scale(images: list[np.ndarray]) -> BatchScale:
    return measure_scale(images)


def test_names_of_families_are_those_of_the_recipe() -> None:
    assert tuple(FAMILIES) == TRAINING_FAMILIES
    assert tuple(EXAMS) == EXAM_FAMILIES
    assert not set(FAMILIES) & set(EXAMS)


def test_same_recipe_seed_and_index_give_the_same_crop_in_any_order(images: list[np.ndarray], scale: BatchScale) -> None:
    forward = [draw_crop(Recipe(), scale, images, 96, 7, i) for i in range(20)]
    backward = [draw_crop(Recipe(), scale, images, 96, 7, i) for i in reversed(range(20))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.label, b.label) and a.family == b.family
    other = draw_crop(Recipe(), scale, images, 96, 8, 0)
    assert not np.array_equal(other.image, forward[0].image)


def test_share_of_clean_crops_is_the_recipes(images: list[np.ndarray], scale: BatchScale) -> None:
    drawn = [draw_crop(Recipe(clean_fraction=0.5), scale, images, 64, 1, i, (0.0, 0.3)) for i in range(400)]
    clean = sum(d.family is None for d in drawn)
    assert 170 <= clean <= 250  # 200 by the recipe, and the few that could not be made visible
    assert all(not d.label.any() for d in drawn if d.family is None)
    assert all(d.label.max() > 0.5 for d in drawn if d.family is not None)


@pytest.mark.parametrize("family", [*FAMILIES, *EXAMS])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_changes_the_image_only_near_the_defect(family: str, channels: int) -> None:
    background = brushed(1, channels=channels).astype(np.float32)
    donor = brushed(2, channels=channels).astype(np.float32)
    scale = measure_scale([brushed(i, channels=channels) for i in range(4)])
    cutout = Cutout(
        np.full((20, 30, channels), 230, np.float32), cv2.circle(np.zeros((20, 30), np.float32), (15, 10), 8, 1.0, -1)
    )
    canvas = Canvas(background, donor, Recipe(), scale, 96.0, np.array([100.0, 70.0]), library=(cutout,))
    changed_somewhere = False
    for seed in range(6):
        image = {**FAMILIES, **EXAMS}[family](canvas, np.random.default_rng(seed), 0.3)
        assert image.shape == background.shape and np.isfinite(image).all()
        moved = np.abs(np.clip(image, 0, 255) - background).max(axis=2)
        changed_somewhere |= bool(moved.max() > 10)
        if family not in ("region", "stain"):
            assert moved[:, :5].max() < 1.0 or family in ("stroke", "crack", "relief", "hairline")
    assert changed_somewhere


def test_label_follows_the_visible_change() -> None:
    scale = BatchScale(4.0, 20, 230, False)
    before = np.full((64, 64, 1), 100.0, np.float32)
    after = before.copy()
    after[20:40, 20:40] += 40  # ten units of variation
    label = blend.label_of_change(before, after, scale)
    assert label[25:35, 25:35].min() > 0.99
    assert label[:15].max() == 0.0
    invisible = blend.label_of_change(before, before + 1.0, scale)
    assert not invisible.any()
    half = blend.label_of_change(before, before + 1.01 * scale.visible, scale)
    assert half == pytest.approx(0.515, abs=0.001)  # 1 / (1 + exp(-0.06))


def with_line(length: int, contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """A plain surface before and after a vertical line, 2 px wide, was drawn on it."""
    before = np.full((128, 128, 1), 100.0, np.float32)
    after = before.copy()
    after[64 - length // 2 : 64 + length // 2, 63:65] -= contrast
    return before, after


def test_a_line_is_labelled_by_its_length() -> None:
    scale = BatchScale(4.0, 20, 230, False, True, 1.0)
    faint = 2.2 * scale.variation
    long, short = with_line(100, faint), with_line(6, faint)
    assert not blend.label_of_change(*long, scale).any()  # no pixel of it stands out
    label = blend.label_of_change(*long, scale, line=True)
    assert label[40:90, 63:65].min() > 0.5
    assert not label[:, :58].any() and not label[:, 70:].any()
    assert not blend.label_of_change(*short, scale, line=True).any()
    # The matched filter's signal is the root of the energy: at half the contrast four times the length is not there.
    assert not blend.label_of_change(*with_line(100, faint / 2), scale, line=True).any()
    # On a coarse texture fewer of the pixels are independent.
    assert not blend.label_of_change(*long, BatchScale(4.0, 20, 230, False, True, 2.4), line=True).any()


def test_long_cracks_are_long_at_every_difficulty_and_half_of_them_begin_where_the_part_ends() -> None:
    rng = np.random.default_rng(0)
    image = np.full((200, 200, 1), 30, np.uint8)
    image[:, 60:] = np.clip(rng.normal(150, 4, (200, 140, 1)), 0, 255)
    part = np.zeros((200, 200), np.bool_)
    part[:, 60:] = True
    scale = BatchScale(4.0, 30, 150, False, True, 1.0)
    canvas = Canvas(
        image.astype(np.float32), image.astype(np.float32), Recipe(), scale, 128.0, np.array([130.0, 100.0]), part=part
    )
    reached, lengths = [], {0.0: [], 1.0: []}
    for seed in range(60):
        for difficulty, found in lengths.items():
            moved = np.abs(crack(canvas, np.random.default_rng(seed), difficulty) - canvas.background)[..., 0] > 0.5
            assert not moved[:, :60].any()  # beside the part there is nothing to crack
            y, x = np.nonzero(moved)
            found.append(float(np.hypot(np.ptp(y), np.ptp(x))))
            reached.append(bool(moved[:, 60:63].any()))
    assert min(np.median(found) for found in lengths.values()) > 40
    assert 0.35 < np.mean(reached) < 0.8


def test_two_passes_meet_in_a_line() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = shapes.half(rng, 120, 160, np.array([80.0, 60.0]), 0.0, 128.0)
        border = np.abs(np.diff(mask, axis=0)).sum(axis=0)  # one border in every column, or two
        assert 0.9 < border.mean() <= 2.01
        top = np.argmax(np.abs(np.diff(mask, axis=0)) > 0.2, axis=0).astype(float)
        assert np.abs(top - np.median(top)).max() < 16  # six hundredths of the side, to both sides


def test_the_unit_of_what_is_wide_is_measured_between_10_and_30_px() -> None:
    rng = np.random.default_rng(2)

    def surface(sigma: float, spread: float) -> np.ndarray:
        noise = cv2.GaussianBlur(rng.normal(0, 1, (480, 480)), (0, 0), sigma)
        return np.clip(128 + spread * noise / noise.std(), 0, 255).astype(np.uint8)[..., None]

    fine = measure_scale([surface(1.0, 20) for _ in range(4)])
    coarse = measure_scale([surface(14.0, 20) for _ in range(4)])
    assert fine.wide < 0.3 * fine.variation
    assert coarse.wide > 2 * coarse.variation and 5 < coarse.wide < 20


def test_pasting_identical_content_is_no_defect(images: list[np.ndarray], scale: BatchScale) -> None:
    background = images[0].astype(np.float32)
    mask = shapes.bezier_blob(np.random.default_rng(1), 160, 200, np.array([100.0, 80.0]), 60)
    assert not blend.label_of_change(background, blend.alpha_blend(background, background, mask), scale).any()
    assert not blend.label_of_change(background, blend.poisson_blend(background, background, mask), scale).any()


def test_on_a_random_texture_only_what_can_be_seen_there_is_drawn() -> None:
    rng = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(rng.normal(0, 60, (128, 128)).astype(np.float32), (0, 0), 2.0) + 128 for _ in range(6)]
    texture = [np.clip(n, 0, 255).astype(np.uint8)[..., None] for n in noise]
    scale = measure_scale(texture)
    assert scale.textured
    pattern = [np.tile(np.array([[60] * 16 + [180] * 16], np.uint8), (128, 4))[..., None] for _ in range(4)]
    assert not measure_scale([np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8) for p in pattern]).textured
    drawn = {draw_crop(Recipe(), scale, texture, 96, 1, i).family for i in range(200)}
    assert drawn == {None, "bezier", "hull", "stroke", "crack", "perlin", "region", "chip"}


def test_difficulty_orders_size_and_strength(images: list[np.ndarray], scale: BatchScale) -> None:
    recipe = Recipe(clean_fraction=0.05, several_fraction=0.0, families=("bezier", "hull"))

    def area_and_change(level: float) -> tuple[float, float]:
        drawn = [draw_crop(recipe, scale, images, 128, 3, i, (level, level)) for i in range(60)]
        areas = [(d.label > 0.5).sum() for d in drawn if d.family]
        return float(np.median(areas)), recipe.strength(level)

    easy, middle, hard = (area_and_change(level) for level in (0.0, 0.5, 1.0))
    assert easy[0] > 4 * middle[0] > 4 * hard[0] > 0
    assert easy[1] > middle[1] > hard[1]


def test_exam_defect_leaves_the_rest_of_the_image_alone(images: list[np.ndarray], scale: BatchScale) -> None:
    for i, family in enumerate(EXAM_FAMILIES):
        drawn = draw_exam(Recipe(), scale, images[0], 0, family, 0.2, 5, i)
        if family == "erase" and drawn.family is None:
            continue  # erased texture is texture: nothing to see
        assert drawn.family == family
        far = cv2.dilate((drawn.label > 0).astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
        assert np.abs(drawn.image.astype(int) - images[0])[..., 0][far].max(initial=0) <= 1
        again = draw_exam(Recipe(), scale, images[0], 0, family, 0.2, 5, i)
        assert np.array_equal(drawn.image, again.image)


def test_two_grey_levels_are_noticed_and_kept_crisp() -> None:
    board = np.zeros((128, 128, 1), np.uint8)
    board[:, 40:80] = 255
    scale = measure_scale([board] * 4)
    assert scale.binary
    assert not measure_scale([brushed(i) for i in range(4)]).binary
    drawn = [draw_crop(Recipe(families=("bezier",), nuisance=0.0), scale, [board], 96, 2, i, (0.2, 0.4)) for i in range(40)]
    beyond = round(float(board.mean()))  # what lies outside of the image is its mean
    grey = np.mean([((d.image > 60) & (d.image < 195) & (d.image != beyond)).mean() for d in drawn if d.family])
    assert grey < 0.05


def test_bezier_curve_passes_through_its_anchors() -> None:
    anchors = np.array([[0.0, 0.0], [10.0, 0.0], [12.0, 8.0], [3.0, 9.0]])
    curve = shapes.bezier_points(anchors, samples=16)
    assert curve.shape == (64, 2)
    assert np.allclose(curve[::16], anchors)


def test_hull_spread_follows_the_gaussian() -> None:
    rng = np.random.default_rng(0)
    areas = {
        d: np.mean([shapes.gaussian_hull(rng, 200, 200, np.array([100.0, 100.0]), d).sum() for _ in range(40)]) for d in (20, 40)
    }
    assert areas[40] / areas[20] == pytest.approx(4.0, rel=0.3)  # area grows with the square of the size


def test_stroke_is_as_long_as_asked() -> None:
    mask = shapes.stroke(np.random.default_rng(3), 200, 200, np.array([100.0, 100.0]), 100.0, 3.0, 0.0)
    columns = np.flatnonzero((mask > 0.3).any(axis=0))
    assert 60 <= columns.max() - columns.min() <= 106


def test_fill_turns_its_sign_where_there_is_no_room() -> None:
    white = np.full((32, 32, 1), 250.0, np.float32)
    inside = np.ones((32, 32), np.float32)
    assert all(fills.signed(np.random.default_rng(i), white, inside, 60.0) < 0 for i in range(20))


def test_exam_defects_lie_on_the_part_where_the_background_is_plain() -> None:
    image = np.full((160, 200, 1), 15, np.uint8)
    image[40:120, 60:150] = brushed(3)[40:120, 60:150]
    image[70:90, 90:110] = 15  # a hole is part of the part
    part = foreground(image)
    assert part[70:90, 90:110].all() and part[45:115, 65:145].all()
    assert not part[:35].any() and not part[:, :55].any()
    assert foreground(brushed(1)).all()
    scale = measure_scale([image] * 3)
    drawn = [draw_exam(Recipe(), scale, image, 0, "specks", 0.3, 1, i) for i in range(20)]
    centres = [np.argwhere(d.label > 0.5).mean(0) for d in drawn if d.family]
    assert len(centres) > 10
    assert all(30 <= y <= 130 and 50 <= x <= 160 for y, x in centres)


def test_chips_are_at_the_rim_and_only_there() -> None:
    image = np.full((160, 160, 1), 20, np.uint8)
    image[40:120, 40:120] = 150
    image = np.clip(image + np.random.default_rng(0).normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    scale, part = measure_scale([image]), foreground(image)
    recipe = Recipe(families=("chip",), clean_fraction=0.05, several_fraction=0.0, nuisance=0.0)
    drawn = [draw_crop(recipe, scale, [image], 160, 1, i, (0.3, 0.6), parts=[part]) for i in range(60)]
    chipped = [d for d in drawn if d.family == "chip"]
    assert len(chipped) > 20
    for d in chipped:
        now_dark, was_part = d.image[..., 0] < 85, d.label > 0.5
        assert was_part.any()
        # Whatever broke off is beside the background, not in the middle of the part.
        grown = cv2.dilate(was_part.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        assert (grown & now_dark & ~was_part).any()


def test_the_rim_is_where_the_part_ends() -> None:
    part = np.zeros((20, 30), np.bool_)
    part[5:15, 10:] = True
    crop, whole = ({tuple(p) for p in rim(part, whole=whole)} for whole in (False, True))
    assert (10, 7) in crop and (20, 5) in crop and (29, 9) not in crop and (15, 9) not in crop
    assert whole - crop == {(29, y) for y in range(6, 14)}
    assert len(rim(np.ones((8, 8), np.bool_), whole=False)) == 0


def test_beyond_the_image_there_is_its_mean_and_never_a_defect(images: list[np.ndarray], scale: BatchScale) -> None:
    beyond = 0
    for i in range(60):
        d = draw_crop(Recipe(clean_fraction=0.05), scale, images, 96, 4, i, (0.0, 0.5))
        mean = round(float(images[d.source].mean()))
        flat = cv2.erode((d.image[..., 0] == mean).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        beyond += bool(flat[0].sum() > 40 or flat[-1].sum() > 40 or flat[:, 0].sum() > 40 or flat[:, -1].sum() > 40)
        assert not (d.label[flat] > 0.5).all() or not flat.any()
    assert beyond > 15


def test_a_third_of_the_crops_show_the_spots_that_are_asked_for(images: list[np.ndarray], scale: BatchScale) -> None:
    marked = [image.copy() for image in images]
    marked[3][80, 150] = 255
    recipe = Recipe(clean_fraction=0.9, nuisance=0.0)
    seen = sum(
        bool((draw_crop(recipe, scale, marked, 64, 2, i, spots=[(3, 80, 150)]).image == 255).any()) for i in range(300)
    )  # fmt: skip
    without = sum(bool((draw_crop(recipe, scale, marked, 64, 2, i).image == 255).any()) for i in range(300))
    assert without < 30 and 70 < seen < 160


def write_cutout(folder: Path, name: str = "crack.png", alpha: int = 255) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((16, 24, 4), 200, np.uint8)
    pixels[..., 3] = 0
    pixels[4:12, 4:20, 3] = alpha
    cv2.imwrite(str(folder / name), pixels)


def test_a_library_is_read_laid_once_and_drawn(tmp_path: Path, images: list[np.ndarray], scale: BatchScale) -> None:
    assert read_library(tmp_path / "none", 1) == ()
    write_cutout(tmp_path / "library")
    cv2.imwrite(str(tmp_path / "library" / "pit.png"), np.full((8, 8), 250, np.uint8))
    cv2.imwrite(str(tmp_path / "library" / "pit.mask.png"), np.full((8, 8), 255, np.uint8))
    cutouts = read_library(tmp_path / "library", 1)
    assert [c.image.shape for c in cutouts] == [(16, 24, 1), (8, 8, 1)]
    assert cutouts[0].mask.sum() == 8 * 16 and read_library(tmp_path / "library", 3)[1].image.shape == (8, 8, 3)
    lay_library(tmp_path / "library", tmp_path / "batch" / "library")
    (tmp_path / "library" / "pit.png").unlink()
    lay_library(tmp_path / "library", tmp_path / "batch" / "library")
    assert len(read_library(tmp_path / "batch" / "library", 1)) == 2, "what a batch was made with stays"
    recipe = Recipe(families=("library",), clean_fraction=0.05)
    drawn = [draw_crop(recipe, scale, images, 96, 1, i, (0.0, 0.3), library=cutouts) for i in range(30)]
    assert sum(d.family == "library" for d in drawn) > 15
    assert all(d.family is None for d in (draw_crop(recipe, scale, images, 96, 1, i) for i in range(5)))
    assert "library" not in {draw_crop(Recipe(), scale, images, 96, 1, i).family for i in range(80)}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: write_cutout(f, alpha=0), "mask of cut-out"),
        (lambda f: cv2.imwrite(str(f / "bare.png"), np.zeros((9, 9), np.uint8)), "has no mask"),
        (lambda f: (f / "broken.png").write_bytes(b"PNG"), "damaged"),
    ],
)
def test_cutouts_that_cannot_be_used_are_named(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    write_cutout(tmp_path)
    spoil(tmp_path)
    with pytest.raises(BadBatch, match=message):
        read_library(tmp_path, 1)


def test_a_mask_beside_counts_alone(tmp_path: Path) -> None:
    """Programs save every picture with an alpha channel, opaque where nobody drew on it."""
    pixels = np.full((16, 24, 4), 200, np.uint8)
    pixels[..., 3] = 255
    cv2.imwrite(str(tmp_path / "crack.png"), pixels)
    with pytest.raises(BadBatch, match=r"crack.png has no mask; save it with transparency, or put crack.mask.png beside it"):
        read_library(tmp_path, 1)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:6] = 1
    cv2.imwrite(str(tmp_path / "crack.mask.png"), mask)
    (cutout,) = read_library(tmp_path, 1)
    np.testing.assert_array_equal(cutout.mask, mask)


def test_cutouts_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    library = tmp_path / "library"
    write_cutout(library, "crack.PNG")
    write_cutout(library / "pits", "pit.png")
    picture, mask = np.full((8, 8, 3), (0, 0, 250), np.uint8), np.full((8, 8), 255, np.uint8)
    for name, pixels in (("stain.jpg", picture), ("stain_mask.png", mask), ("hole.JPG", picture), ("hole.mask.PNG", mask)):
        cv2.imwrite(str(library / name), pixels)
    for name in ("._crack.PNG", ".DS_Store", "LICENSE", "notes.txt"):
        (library / name).write_bytes(b"no picture")
    (library / ".trash").mkdir()
    (library / ".trash" / "old.png").write_bytes(b"no picture")
    assert [cutout.image.shape for cutout in read_library(library, 3)] == [(16, 24, 3), (8, 8, 3), (16, 24, 3), (8, 8, 3)]
    lay_library(library, tmp_path / "batch" / "library")
    laid = sorted(path.relative_to(tmp_path / "batch").as_posix() for path in (tmp_path / "batch").rglob("*") if path.is_file())
    names = ("crack.PNG", "hole.JPG", "hole.mask.PNG", "index.json", "pits/pit.png", "stain.jpg", "stain_mask.png")
    assert laid == [f"library/{name}" for name in names]
    assert len(read_library(tmp_path / "batch" / "library", 1)) == 4


@pytest.mark.parametrize("name", ["crack.xcf", "crack.gif", "crack", "broken_link.png", "pits", "lone.mask.png"])
def test_what_would_give_nothing_is_named(tmp_path: Path, name: str) -> None:
    write_cutout(tmp_path / "library")
    write_cutout(tmp_path / "elsewhere")
    if name in {"broken_link.png", "pits"}:
        (tmp_path / "library" / name).symlink_to(tmp_path / ("nowhere" if name == "broken_link.png" else "elsewhere"))
    else:
        (tmp_path / "library" / name).write_bytes((tmp_path / "elsewhere" / "crack.png").read_bytes())
    with pytest.raises(BadBatch, match=rf"'{name}' in library .*(is no image that is read|has no picture beside it)"):
        read_library(tmp_path / "library", 1)


def test_grain_is_the_correlation_length_of_the_texture() -> None:
    rng = np.random.default_rng(0)
    fine = [rng.normal(128, 20, (128, 128)) for _ in range(4)]
    coarse = [128 + 90 * (cv2.GaussianBlur(f, (0, 0), 2.5) - 128) / 20 for f in fine]
    as_images = [[np.clip(i, 0, 255).astype(np.uint8)[..., None] for i in kind] for kind in (fine, coarse)]
    assert measure_scale(as_images[0]).grain == 1.0
    assert 3.0 < measure_scale(as_images[1]).grain < 8.0


def test_what_nobody_can_see_is_not_labelled(scale: BatchScale) -> None:
    before = np.full((64, 64, 1), 100.0, np.float32)
    after = before.copy()
    after[10:20, 10:20] += 0.4 * scale.visible  # touched, but nobody could see it
    after[40:50, 40:50] += 10 * scale.visible
    label = blend.label_of_change(before, after, scale)
    assert not label[5:25, 5:25].any() and label[42:48, 42:48].min() > 0.9


def test_a_partner_is_shown_at_the_same_place_and_changes_nothing_else() -> None:
    """Each image has its own grey ramp, its partner the same one darker: light and print tolerance move it little."""
    rows, columns = np.mgrid[0:160, 0:200].astype(np.float32)
    images = [np.clip(60 + 0.5 * rows + 0.3 * columns + 10 * n, 0, 255).astype(np.uint8)[..., None] for n in range(3)]
    partners = [image - np.uint8(20) for image in images]
    recipe, scale = Recipe(nuisance=0.3).model_copy(update={"clean_fraction": 1.0}), measure_scale(images)
    for index in range(12):
        alone = draw_crop(recipe, scale, images, 96, 5, index)
        paired = draw_crop(recipe, scale, images, 96, 5, index, partners=partners)
        assert np.array_equal(alone.image, paired.image) and alone.clean is None and paired.clean is not None
        apart = paired.image[8:-8, 8:-8].astype(float) - paired.clean[8:-8, 8:-8]
        # Where the crop is image and not what lies beyond: the ramp itself is gone, and the step between the two is left.
        assert np.median(np.abs(apart - np.median(apart))) < 4.0 and 8 < np.median(apart) < 32


def test_a_partner_has_differences_of_its_own() -> None:
    """The same picture twice: noise, light and edges differ, and the same draw gives the same ones."""
    image = np.full((128, 128, 1), 90, np.uint8)
    image[:, 60:] = 170
    recipe = Recipe().model_copy(update={"clean_fraction": 1.0})
    drawn = [draw_crop(recipe, measure_scale([image]), [image], 96, 5, index, partners=[image]) for index in range(8)]
    again = [draw_crop(recipe, measure_scale([image]), [image], 96, 5, index, partners=[image]) for index in range(8)]
    assert all(one.clean is not None and not np.array_equal(one.image, one.clean) for one in drawn)
    assert all(np.array_equal(one.clean, two.clean) for one, two in zip(drawn, again, strict=True))

"""Registration: where in an image the part of a stored picture (the template) lies, to a fraction of a pixel.

First a shift: masked normalised cross-correlation (Padfield 2012, "Masked object registration in the Fourier domain", computed
here as plain convolutions) at an eighth of the finest level's resolution. Then an affine map: the inverse compositional
algorithm (Baker and Matthews 2004, "Lucas-Kanade 20 years on") on four levels, each twice as fine as the one before. What an
iteration needs of the template is computed once and kept, so that one iteration is a sampling and a product of matrices, in
torch and in the exported file. Brightness and contrast are taken out of each comparison, as the enhanced correlation coefficient
does (Evangelidis and Psarakis 2008).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.loaded_sizes import TakesLoadedSizes
from models.detectors.template_frame import Frame, Registered, sampled

LEVELS = 4
ITERATIONS = (6, 4, 3, 2)
"""Of each level, the coarsest first."""
SMALLEST = 192
"""Shorter side in px of the finest level: a template that is as large when halved is compared at half its resolution."""
FINEST = (1, 2, 4)
"""Reductions of the finest level; the coarsest then reduces 8, 16 or 32 times, which divides the sides of what detectors see."""
OUTLIER = 2.0
"""Difference, in spreads of the template, above which a pixel pulls no harder: it may be a defect."""
FARTHEST = 0.12
"""How far entries of an affine map may be from those of the identity: turned by 7°, or scaled by 12 %."""
LEAST_OVERLAP = 0.3
"""Share of the template that has to be seen; less says nothing."""
NEARER = 0.02
"""What a shift to the window's rim has to gain in correlation: of shifts that fit alike, as on a grid, the smallest is taken."""
DAMPING = 1e-3
FLAT = 1e-3
"""Spread below which there is nothing to compare; images have one of about 1."""
TINY = 1e-6


def visible(images: Tensor) -> Tensor:
    """1 where images (N, C, H, W) are, 0 in the margins around them, (N, 1, H, W). Margins are exactly zero in all channels (see
    ``models.inspection.inspector.as_seen``), so an image is the smallest box around what is not."""
    there = (images.abs().amax(1, keepdim=True) > 0).to(images.dtype)
    return _between(there.amax(3, keepdim=True), 2) * _between(there.amax(2, keepdim=True), 3)


def _between(there: Tensor, side: int) -> Tensor:
    """1 from the first to the last 1 along ``side``."""
    before, after = there.cumsum(side), there.flip(side).cumsum(side).flip(side)
    return (torch.minimum(before, after) > 0).to(there.dtype)


def reduced(images: Tensor, shown: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Means over squares of ``factor`` px of what is ``shown`` of images (N, 1, H, W), and its share in each square."""
    if factor == 1:
        return images, shown
    share = F.avg_pool2d(shown, factor)
    return F.avg_pool2d(images * shown, factor) / share.clamp(min=TINY), share


def moments(images: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (N, 1, 1, 1) of images (N, C, H, W) under ``weights`` (N, 1, H, W) of 0..1."""
    share = weights / (_sum(weights).clamp(min=1.0) * images.shape[1])
    mean = _sum(images * share)
    return mean, _sum((images - mean).square() * share).sqrt()


def standardised(images: Tensor, weights: Tensor) -> Tensor:
    """Images (N, C, H, W) with mean 0 and spread 1 under ``weights``; flat ones are left flat."""
    mean, spread = moments(images, weights)
    return (images - mean) / spread.clamp(min=FLAT)


def _sum(values: Tensor) -> Tensor:
    """Of each image, row by row first: a float32 sum over a million pixels loses digits."""
    return values.sum(3, keepdim=True).sum((1, 2), keepdim=True)


@dataclass(frozen=True)
class View:
    """Images at a level's resolution: ``pair`` (N, 2, h', w'), grey and what is shown of it; ``to_sampler`` as of ``Frame``, and
    its points at this resolution."""

    pair: Tensor
    to_sampler: Tensor
    columns: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Held:
    """What a level holds of the template of each of N images, or of one template for all of them (its first side then is 1)."""

    picture: Tensor  # (N, 1, h, w), grey, of mean 0 and spread 1 where it is inside
    inside: Tensor  # (N, 1, h, w), 1 where there is something to compare
    descent: Tensor  # (N, 6, h · w), the inverse Hessian times the steepest descent images

    def seen(self, view: View, affine: Tensor) -> tuple[Tensor, Tensor]:
        """Images as the template sees them (N, 1, h, w), and how much of its pixels both show (0..1)."""
        picture, shown = sampled(view.pair, view.to_sampler @ affine, (view.columns, view.rows)).split(1, 1)
        return picture, self.inside * (2.0 * shown - 1.0).clamp(0.0, 1.0)

    def light(self, picture: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and summand (N, 1, 1, 1) with which ``picture`` gets the mean and spread of the template under ``weights``."""
        (mean, spread), (wanted_mean, wanted_spread) = moments(picture, weights), moments(self.picture, weights)
        contrast = wanted_spread / spread.clamp(min=FLAT)
        return contrast, wanted_mean - mean * contrast

    def refined(self, view: View, affine: Tensor, iterations: int, limits: tuple[Tensor, Tensor]) -> Tensor:
        """``affine`` (N, 3, 3) after some iterations, kept between ``limits``. The light is matched once, before the first: steps
        change it little, and the exported file is read faster."""
        low, high = limits
        contrast = brightness = affine
        for iteration in range(iterations):
            picture, weights = self.seen(view, affine)
            if iteration == 0:
                contrast, brightness = self.light(picture, weights)
            error = (picture * contrast + brightness - self.picture).clamp(-OUTLIER, OUTLIER) * weights
            step = (error.flatten(1)[:, None] @ self.descent.transpose(1, 2)).reshape(-1, 2, 3)
            # The inverse of 1 + step is 1 - step, but for its square, which is gone when the steps are small.
            affine = torch.minimum(torch.maximum(affine - affine[:, :, :2] @ step, low), high)
        return affine

    def correlation(self, view: View, affine: Tensor) -> tuple[Tensor, Tensor]:
        """Of image and template where both are seen (N,), -1..1, and the share of the template that this is (N,)."""
        picture, weights = self.seen(view, affine)
        total = _sum(weights)
        product = standardised(picture, weights) * standardised(self.picture, weights) * weights
        return (_sum(product) / total.clamp(min=1.0)).flatten(), (total / _sum(self.inside).clamp(min=1.0)).flatten()


def view_of(grey: Tensor, shown: Tensor, frame: Frame, picture: Tensor) -> View:
    """Images ``grey`` (N, 1, H, W), of which ``shown`` is seen, at the resolution that ``picture`` (K, 1, h, w) has of a
    template."""
    h, w = (int(side) for side in picture.shape[-2:])
    factor = frame.height // h
    pair = torch.cat(reduced(grey, shown, factor), 1)
    return View(pair, frame.to_sampler(grey), *frame.points(grey, h, w, factor))


class Level(TakesLoadedSizes):
    """K templates at one resolution, and what an iteration of the inverse compositional algorithm needs of them."""

    counted = True
    picture: Tensor  # (K, 1, h, w), as of ``Held``
    inside: Tensor  # (K, 1, h, w)
    descent: Tensor  # (K, 6, h · w)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("picture", torch.zeros(1, 1, 1, 1))
        self.register_buffer("inside", torch.zeros(1, 1, 1, 1))
        self.register_buffer("descent", torch.zeros(1, 6, 1))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        descent = state_dict.get(prefix + "descent")
        if isinstance(descent, Tensor) and descent.ndim == 2:  # of when a level held one template
            state_dict[prefix + "descent"] = descent[None]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def hold(self, pictures: Tensor, shown: Tensor) -> None:
        """Keep ``pictures`` (K, 1, h, w) where all of a pixel is ``shown``."""
        held = [_held(*pair) for pair in zip(pictures.split(1), shown.split(1), strict=True)]
        self.picture = torch.cat([one.picture for one in held])
        self.inside = torch.cat([one.inside for one in held])
        self.descent = torch.cat([one.descent for one in held])

    def of(self, chosen: Tensor) -> Held:
        """Of the templates with numbers ``chosen`` (N,)."""
        if len(self.picture) == 1:
            return Held(self.picture, self.inside, self.descent)
        return Held(*(buffer.index_select(0, chosen) for buffer in (self.picture, self.inside, self.descent)))


def _held(picture: Tensor, shown: Tensor) -> Held:
    """Of one template (1, 1, h, w)."""
    h, w = picture.shape[-2:]
    inside = (shown > 0.99).double()
    flat = standardised(picture.double(), inside) * inside
    # Differences that reach beyond the rim of what is inside say nothing.
    core = 1.0 - F.max_pool2d(F.pad(1.0 - inside, (1,) * 4, value=1.0), 3, stride=1)
    slopes = torch.cat([flat.roll(-1, side) - flat.roll(1, side) for side in (3, 2)], 1) * core / 2.0  # x, y
    x, y = ((torch.arange(n).to(flat) + 0.5 - n / 2) * (2.0 / max(h, w)) for n in (w, h))
    places = torch.stack([x.expand(h, w), y[:, None].expand(h, w), torch.ones(h, w).to(flat)])
    steepest = (slopes[0, :, None] * places * (max(h, w) / 2.0)).reshape(6, h * w)
    # What a change of brightness or contrast explains is no motion.
    light = torch.stack([inside.flatten(), flat.flatten()])
    light = light / light.norm(dim=1, keepdim=True).clamp(min=TINY)
    steepest = steepest - (steepest @ light.T) @ light
    hessian = steepest @ steepest.T
    damped = hessian + (DAMPING * hessian.diagonal().mean() + TINY) * torch.eye(6).to(hessian)
    return Held(flat.to(picture), inside.to(picture), (torch.linalg.inv(damped) @ steepest).to(picture)[None])


class Registration(TakesLoadedSizes):
    """Finds the best of K templates in images. ``search``: how far it may be shifted, as a share of each side (0..0.5); turned
    and scaled it may be by a few degrees and percent. Without a template, confidence is 0.

    Which template it is, is decided by the coarse correlation, where a shift alone is tried. Images may be of other sizes than
    the templates, which have one size; shifts are counted from equal upper left corners."""

    shown: Tensor  # (H, W), where the first template is an image and not its margins

    def __init__(self, search: float = 0.25) -> None:
        super().__init__()
        if not 0.0 <= search <= 0.5:
            raise BadSettings(f"search {search} must be 0 to 0.5, a share of the side")
        self.search = search
        self.register_buffer("shown", torch.zeros(8, 8, dtype=torch.bool))
        self.levels = nn.ModuleList(Level() for _ in range(LEVELS))

    @property
    def frame(self) -> Frame:
        """The template's frame."""
        height, width = self.shown.shape
        return Frame(int(height), int(width))

    @torch.no_grad()
    def hold(self, templates: Tensor) -> None:
        """Take ``templates`` (K, C, H, W): images with their margins, their sides multiples of 32."""
        shown = visible(templates)
        self.shown = shown[0, 0] > 0.5
        fine = max(f for f in FINEST if f == 1 or min(templates.shape[-2:]) >= f * SMALLEST)
        for number, level in enumerate(self._levels()):
            level.hold(*reduced(templates.mean(1, keepdim=True), shown, fine << (LEVELS - 1 - number)))

    def forward(self, images: Tensor, but: int | None = None) -> Registered:
        """Find a template in images (N, C, H, W), their sides multiples of 32; ``but``: the number of one that is not tried,
        which needs two."""
        frame, shown, grey = self.frame, visible(images), images.mean(1, keepdim=True)
        levels = self._levels()
        views = [view_of(grey, shown, frame, level.picture) for level in levels]
        affine, chosen = self._shifted(views[0].pair, levels[0], but)
        limits = self._limits(affine)
        held = [level.of(chosen) for level in levels]
        for level, view, iterations in zip(held, views, ITERATIONS, strict=True):
            affine = level.refined(view, affine, iterations, limits)
        correlation, share = held[-1].correlation(views[-1], affine)
        enough = ((share - LEAST_OVERLAP) / 0.05).clamp(0.0, 1.0)
        return Registered(affine, (correlation * enough).clamp(0.0, 1.0), frame, chosen)

    def _levels(self) -> list[Level]:
        return list(cast("Iterable[Level]", self.levels))

    def _limits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        frame = self.frame
        far = [[FARTHEST, FARTHEST, FARTHEST + self.search * side / frame.unit] for side in (frame.width, frame.height)]
        middle, reach = torch.eye(3).to(like), torch.tensor([*far, [0.0, 0.0, 0.0]]).to(like)
        return middle - reach, middle + reach

    def _shifted(self, image: Tensor, level: Level, but: int | None) -> tuple[Tensor, Tensor]:
        """The shift that correlates best, as an affine map (N, 3, 3), and the number of the template (N,) that it is of."""
        count, _, h, w = (int(side) for side in level.picture.shape)
        down, right = int(self.search * h), int(self.search * w)
        room = F.pad(image, (right, right + w, down, down + h))[:, :, : h + 2 * down, : w + 2 * right]
        shown = room[:, 1:]
        seen = room[:, :1] * shown
        inside = level.inside
        template = level.picture
        of_seen, of_inside = F.conv2d(seen, torch.cat([template, inside])).split(count, 1)
        of_squares = F.conv2d(seen.square(), inside)
        both_shown, of_shown, squares_shown = F.conv2d(shown, torch.cat([inside, template, template.square()])).split(count, 1)
        pixels = both_shown.clamp(min=1.0)
        both = of_seen - of_inside * of_shown / pixels
        spreads = (of_squares - of_inside.square() / pixels) * (squares_shown - of_shown.square() / pixels)
        y, x = (torch.arange(-far, far + 1).to(image) for far in (down, right))
        nearer = NEARER * ((y / max(down, 1)).square()[:, None] + (x / max(right, 1)).square())
        least = LEAST_OVERLAP * inside.sum((2, 3))[:, :, None]  # (K, 1, 1)
        fits = torch.where(pixels < least, -1.0, both / spreads.clamp(min=TINY).sqrt()) - nearer
        if but is not None:
            fits[:, but] = -2.0
        shifts = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.zeros(len(y), len(x)).to(x)], 2)
        affines = shifts.reshape(-1, 3, 1) * (2.0 / max(h, w)) * torch.tensor([0.0, 0.0, 1.0]).to(x) + torch.eye(3).to(x)
        best = fits.flatten(1).argmax(1)
        return affines[best % len(affines)], best // len(affines)

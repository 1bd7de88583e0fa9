"""Contents of a QA report as a changeover might leave them, drawn with numpy: a metal disc with holes and a few defects."""

from typing import Any

import cv2
import numpy as np

from data.batch import BatchRecord, ImageRecord, Rejection
from models.evaluation.metrics_file import Metrics
from models.report.example import Example
from models.report.page import ReportContents

THRESHOLD, PIXEL_THRESHOLD = 0.42, 0.55
FAMILIES = {"bezier_blob": False, "gaussian_hull": False, "stroke": True, "moved_patch": True}


def part(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """A brushed disc with three holes on a dark belt: uint8 (H, W, C)."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    grain = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 0.6, sigmaY=6) * 26
    radius = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    image = np.where(radius < 0.44, 168 + grain + 18 * (x / width - 0.5), 46 + rng.normal(0, 3, size))
    for angle in (0.4, 2.5, 4.6):
        hole = np.hypot(x - width * (0.5 + 0.27 * np.cos(angle)), y - height * (0.5 + 0.27 * np.sin(angle))) < 0.06 * min(size)
        image[hole] = 30
    image = cv2.GaussianBlur(image, (0, 0), 0.7)
    tint = np.array([1.0] if channels == 1 else [1.0, 0.96, 0.88])
    return np.clip(image[..., None] * tint, 0, 255).astype(np.uint8)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A quiet anomaly map, float32 (H, W), well below the pixel threshold."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 9)
    return (0.12 + 0.05 * noise / noise.std()).astype(np.float32)


def spot(rng: np.random.Generator, size: tuple[int, int], radius: float) -> np.ndarray:
    """A soft irregular bump 0..1, float32 (H, W), somewhere on the disc."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.3)
    cx, cy = width * (0.5 + away * np.cos(turn)), height * (0.5 + away * np.sin(turn))
    stretch = rng.uniform(0.5, 2.0)
    return np.exp(-(((x - cx) * stretch) ** 2 + ((y - cy) / stretch) ** 2) / (2 * radius**2)).astype(np.float32)


def good_example(rng: np.random.Generator, index: int, size: tuple[int, int], channels: int, alarm: bool) -> Example:
    """A good part; with ``alarm`` the map fires on it and it is rejected."""
    anomaly_map = background(rng, size)
    score = float(rng.beta(4, 14))
    if alarm:
        anomaly_map = np.maximum(anomaly_map, 0.8 * spot(rng, size, 9))
        score = float(rng.uniform(THRESHOLD + 0.02, 0.6))
    image = part(rng, size, channels)
    return Example(
        image, anomaly_map, None, min(score, 0.41) if not alarm else score, alarm, f"part-{index:04}.png", None, None, "good"
    )


def defect_example(rng: np.random.Generator, index: int, family: str, size: tuple[int, int], channels: int) -> Example:
    """A pseudo-defect; the harder, the smaller, the fainter and the likelier it escapes."""
    difficulty = float(rng.uniform(0, 1))
    shape = spot(rng, size, 16 * (1.2 - difficulty))
    image = np.clip(part(rng, size, channels) - (110 * (1.1 - difficulty) * shape)[..., None], 0, 255).astype(np.uint8)
    seen = float(np.clip(rng.normal(1.25 - difficulty, 0.2), 0.05, 1.1))
    anomaly_map = np.maximum(background(rng, size), seen * cv2.GaussianBlur(shape, (0, 0), 2)).astype(np.float32)
    label = (255 * (shape > 0.3)).astype(np.uint8)
    name = f"{index:04}.png"
    return Example(image, anomaly_map, label, seen, seen > THRESHOLD, name, family, difficulty, "defect")


def rate(count: int, n: int) -> dict[str, Any]:
    """A rate with bounds that look right (the report only shows them)."""
    middle, margin = count / n, 1.96 * np.sqrt((count + 1) / n**2)
    return {
        "count": count,
        "n": n,
        "rate": middle,
        "low": max(0.0, middle - margin * 0.7),
        "high": min(1.0, middle + margin * 1.3),
    }


def metrics(examples: list[Example], rng: np.random.Generator) -> dict[str, Any]:
    """``metrics.json`` that fits ``examples``."""
    families = {}
    for index, (name, held_out) in enumerate(FAMILIES.items()):
        figures = {"image_auroc": 0.985 - 0.02 * index, "pixel_ap": 0.81 - 0.11 * index, "escape": rate(1 + 2 * index, 52)}
        families[name] = {"held_out": held_out, **figures}
    good = [e.score for e in examples if e.kind == "good"]
    calibrate = [float(s) for s in np.minimum(rng.beta(4, 14, 90), THRESHOLD)]
    return {
        "schema": 1,
        "product": "disc-40",
        "batch": "2026-11-21-a",
        "preset": "standard",
        "seed": 1,
        "model_digest": "9f2c" * 16,
        "images_digest": "41ab" * 16,
        "threshold": THRESHOLD,
        "pixel_threshold": PIXEL_THRESHOLD,
        "overkill_target": 0.01,
        "guarantee": "With 90 calibration images the threshold promises an overkill of at most 3.3 % at 95 % confidence; "
        "the target of 1 % could be promised from 299 images.",
        "images": {"train": 210, "tune": 42, "calibrate": 90, "test": 84},
        "overkill": rate(sum(s > THRESHOLD for s in good), 84),
        "escape": rate(12, 104),
        "image_auroc": 0.9634,
        "pixel_ap": 0.6127,
        "families": families,
        "gates": [
            {"name": "overkill", "value": 0.0357, "limit": 0.05, "passed": True, "text": "Overkill 3.6 % is at most 5 %."},
            {"name": "escape", "value": 0.1154, "limit": 0.2, "passed": True, "text": "Escape 11.5 % is at most 20 %."},
            {
                "name": "worst held-out family",
                "value": 0.48,
                "limit": 0.3,
                "passed": True,
                "text": "Pixel AP 0.48 is at least 0.3.",
            },
            {"name": "time for an image", "value": 31.4, "limit": 100, "passed": True, "text": "31 ms is at most 100 ms."},
        ],
        "passed": True,
        "champion": None,
        "detector": "unet3plus",
        "settings": {
            "encoder": "resnet18",
            "widths": [64, 64, 64, 64, 64],
            "learning_rate": 0.00083,
            "curriculum": {"start": 0.2, "end": 0.85},
            "fused": "unet3plus + patchcore",
            "teacher": "shop-floor (resnet10t, self-supervised, 0123456789ab); licence: <ours>",
        },
        "training": {
            "steps": 1840,
            "seconds": 212.4,
            "stopped": "time budget",
            "device": "cpu",
            "warm_start": {"product": "disc-39", "version": "7", "weights_digest": "ab" * 32},
        },
        "study": {"trials": 14, "best": {"number": 9, "value": 0.61}},
        "timing": {"tune_s": 148.2, "train_s": 212.4, "evaluate_s": 21.8, "ms_per_image": 31.4},
        "environment": {
            "python": "3.11.7",
            "torch": "2.15.0",
            "platform": "linux-x86_64",
            "device": "cpu",
            "changeover": "0.1.0",
        },
        "trade_off": [
            {
                "threshold": THRESHOLD - 0.02 * k,
                "promised": (k + 1) / 91,
                "overkill": rate(k, 84),
                "escape": rate(max(12 - k, 0), 104),
            }
            for k in range(0, 20, 2)
        ],
        "scores": {"calibrate": calibrate, "test": good, "defects": [e.score for e in examples if e.kind == "defect"]},
    }


def champion() -> dict[str, Any]:
    """The champion's part of ``metrics.json``."""
    return {
        "version": "3",
        "batch": "2026-10-02-a",
        "overkill": rate(11, 84),
        "escape": rate(12, 104),
        "image_auroc": 0.941,
        "pixel_ap": 0.55,
        "threshold": 0.37,
    }


def validation(names: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """``validation.json`` with a warning, in the words of ``data.validation.checks``."""
    told = [
        ("readable", "0 unreadable", "0", "Images that do not open: restore good/, or ingest again."),
        (
            "unchanged", "0 changed, missing or added", "0",
            "Files that are not byte for byte those that were ingested: restore good/ with 'dvc checkout good.dvc', or "
            "ingest the images as a new batch.",
        ),
        ("enough images", f"{len(names)}", "≥ 12", "Fewer good images cannot be split into four subsets: deliver more."),
        (
            "one size", "160 × 160 px", "each side within 5% of its median",
            "Images of different size are accepted; check that they come from one camera and one crop.",
        ),
        (
            "blur", "lowest 0.0288", "≥ 0.0107",
            "Sharpness divided by squared contrast. Images far less sharp than the rest of the batch: check focus and motion, "
            "leave them out if they are blurred.",
        ),
        (
            "exposure", "brightness 0.37 to 0.43, overexposed up to 0.2%, underexposed up to 0.0%",
            "brightness 0.31 to 0.51, overexposed up to 10.1%, underexposed up to 10.0%",
            "Images far brighter, darker or more clipped than the rest of the batch: check the light, leave them out if wrong.",
        ),
        (
            "near-duplicates", "0.0% of images", "≤ 10.0%",
            "Images that repeat another one and are not known to show the same part; they stay on one side of the split, but "
            "teach nothing new: check that the line moved on.",
        ),
        (
            "drift of brightness", "median 0.52", "0.46 to 0.58",
            "Compared with earlier batches of disc-40 (3): if outside, check light, lens and material.",
        ),
    ]  # fmt: skip
    checks = [
        {
            "name": name,
            "passed": name != "blur",
            "severity": "error" if name in ("readable", "unchanged", "enough images") else "warning",
            "observed": observed,
            "limit": limit,
            "text": text,
            "images": names[:9] if name == "blur" else [],
        }
        for name, observed, limit, text in told
    ]
    facts = [
        {
            "name": n,
            "brightness": float(rng.normal(0.52, 0.02)),
            "contrast": float(rng.normal(0.2, 0.01)),
            "sharpness": float(rng.gamma(40)),
        }
        for n in names
    ]
    return {"passed": True, "checks": checks, "facts": facts, "summary": {"images": len(names)}}


def trials(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Fourteen trials, some stopped early, one failed."""
    rows: list[dict[str, Any]] = []
    for number in range(14):
        state = "FAIL" if number == 5 else "PRUNED" if number % 4 == 3 else "COMPLETE"
        value = float(0.35 + 0.25 * (1 - np.exp(-number / 5)) + rng.normal(0, 0.03)) if state == "COMPLETE" else None
        params = {
            "detector": "unet3plus",
            "learning_rate": float(10 ** rng.uniform(-4, -2.5)),
            "curriculum_end": float(rng.uniform(0.5, 1)),
        }
        reason = {"FAIL": "loss became NaN", "PRUNED": "worse than the median after 40 steps"}.get(state)
        rows.append(
            {
                "number": number,
                "state": state,
                "value": value,
                "params": params,
                "seconds": float(rng.uniform(4, 14)),
                "reason": reason,
            }
        )
    return rows


def contents(
    n_good: int = 24, n_defects: int = 32, size: tuple[int, int] = (160, 160), channels: int = 1, alarms: int = 3
) -> ReportContents:
    """A whole report's contents, the same at every call."""
    rng = np.random.default_rng(7)
    examples = [good_example(rng, index, size, channels, index < alarms) for index in range(n_good)]
    families = list(FAMILIES)
    examples += [defect_example(rng, index, families[index % len(families)], size, channels) for index in range(n_defects)]
    names = [f"part-{index:04}.png" for index in range(426)]
    images = tuple(
        ImageRecord(
            name=n, source_name=n, sha256="ab" * 32, bytes=52_000, width=size[1], height=size[0], channels=channels, group=n[:7]
        )
        for n in names
    )
    rejected = (Rejection(source_name="Thumbs.db", reason="not an image: the name ends in .db"),)
    record = BatchRecord(product="disc-40", batch="2026-11-21-a", digest="41ab" * 16, images=images, rejected=rejected)
    learning = [(float(s), float(0.9 * np.exp(-s / 300) + 0.18 + rng.normal(0, 0.03))) for s in range(0, 1840, 5)]
    schedule = [(p, 0.3 * p, min(0.2 + 0.9 * p, 0.9)) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    whole = Metrics.model_validate(metrics(examples, rng))
    return ReportContents(whole, validation(names, rng), examples, trials(rng), schedule, learning, record)

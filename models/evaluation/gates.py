"""Gates: what a model must show on frozen images before QA is asked to look at it."""

from models.evaluation.metrics_file import Figures, QualityGate
from models.evaluation.rate import Rate
from models.settings import GateLimits


def check_gates(
    limits: GateLimits,
    overkill: Rate,
    overkill_target: float,
    escape: Rate,
    easy_escape: Rate,
    image_auroc: float,
    parity: float,
    verdicts: int,
    champion: Figures | None,
    remedy: str,
    not_judged: Rate | None = None,
) -> list[QualityGate]:
    """Every gate in a fixed order. The champion's gates are left out where there is no champion. ``remedy``: what can be done
    where too many easy exam defects pass. ``not_judged``: of the calibration images; None for a model that judges every image,
    which has no such gate."""
    held = easy_escape.rate <= limits.easy_escape
    gates = [
        QualityGate(
            "overkill (lower bound)", overkill.low, overkill_target, overkill.low <= overkill_target,
            f"{overkill.count} of {overkill.n} good images rejected: with 95 % confidence the overkill is at least "
            f"{overkill.low:.1%}, which must not exceed the {overkill_target:.1%} that the threshold is made for",
        ),
        QualityGate(
            "separation", image_auroc, limits.image_auroc, image_auroc >= limits.image_auroc,
            f"image AUROC {image_auroc:.3f} between good images and easy held-out pseudo-defects; "
            f"at least {limits.image_auroc:.2f} is asked for",
        ),
        QualityGate(
            "easy escapes", easy_escape.rate, limits.easy_escape, held,
            f"{easy_escape.count} of {easy_escape.n} easy pseudo-defects passed; at most {limits.easy_escape:.0%} may"
            + ("" if held else f" ({remedy})"),
        ),
        QualityGate(
            "export parity", parity, limits.parity, parity <= limits.parity,
            f"the exported map differs from the trained one by at most {parity:.1e}; {limits.parity:.0e} is allowed",
        ),
        QualityGate(
            "export verdicts", float(verdicts), 0.0, verdicts == 0,
            f"the exported file and the trained detectors disagree on {verdicts} of the good and defective images that both saw; "
            "none is allowed",
        ),
    ]  # fmt: skip
    if not_judged is not None:
        held = not_judged.rate <= limits.not_judged
        gates.append(
            QualityGate(
                "not judged", not_judged.rate, limits.not_judged, held,
                f"in {not_judged.count} of {not_judged.n} good calibration images the part was not found as the good images show "
                f"it, so that they are not judged and say nothing of the threshold; at most {limits.not_judged:.0%} may"
                + ("" if held else " (see where the part lies in them, or train with detectors that compare with no template)"),
            )
        )  # fmt: skip
    if champion is not None:
        for name, ours, theirs in (("overkill", overkill, champion.overkill), ("escape", escape, champion.escape)):
            limit = min(theirs.rate + limits.champion_slack, 1.0)
            gates.append(
                QualityGate(
                    f"{name} against the champion", ours.rate, limit, ours.rate <= limit,
                    f"{name} {ours.rate:.1%} on the same images as the champion's {theirs.rate:.1%}; "
                    f"at most {limit:.1%} is accepted",
                )
            )  # fmt: skip
    return gates

"""The key to the anomaly maps' colours."""

from markupsafe import Markup

from models.report.charts import line, svg, text
from models.report.overlay import LEVELS, ColourScale
from models.report.wording import number_text

STEPS = 80


def legend(scale: ColourScale) -> Markup:
    """The colour scale over grey as it would lie over a part, with the threshold and both ends named."""
    parts = [Markup('<rect x="0" y="20" width="400" height="22" fill="#8c8c8c"/>')]
    patch = Markup(
        '<rect x="{:g}" y="20" width="{:g}" height="22" shape-rendering="crispEdges" fill="rgb({},{},{})" fill-opacity="{:.3f}"/>'
    )
    for index in range(STEPS):
        red, green, blue, opacity = (int(v) for v in scale.table[(2 * LEVELS * index) // STEPS])
        parts.append(patch.format(400 * index / STEPS, 400 / STEPS, red, green, blue, opacity / 255))
    parts += [
        line(200, 14, 200, 48, "threshold"),
        text(0, 12, "below: nearly clear", "tick"),
        text(400, 12, "above: opaque", "tick", "end"),
    ]
    parts += [
        text(0, 62, number_text(scale.low), "tick"),
        text(200, 62, f"pixel threshold {number_text(scale.pixel_threshold)}", "tick", "middle"),
    ]
    parts.append(text(400, 62, f"{number_text(scale.high)} and more", "tick", "end"))
    return svg(
        400,
        66,
        f"Colours of the anomaly maps: from the pixel threshold {number_text(scale.pixel_threshold)} up they are opaque",
        parts,
        "legend",
    )

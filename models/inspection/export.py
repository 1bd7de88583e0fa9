"""Export of an inspector to ONNX, and the threshold set in the exported file itself, so that what was calibrated is what
ships."""

import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from core.errors import BadModel
from core.files import replacing
from models.inspection.inspector import STRIDE, Inspector

OPSET = 17
THRESHOLD = "threshold"


def export(inspector: Inspector, target: Path, channels: int, properties: dict[str, str]) -> None:
    """Write ``inspector`` as ONNX with dynamic batch, height and width; ``properties`` become ``changeover.*`` metadata. Where it
    declines, the file has the output ``judged`` after the three that every file has.

    The TorchScript-based exporter is used: the newer one fails with dynamic sizes on some encoders.
    """
    example = torch.randint(0, 255, (1, 96, 128, channels), dtype=torch.uint8)
    of_images = ["score", "verdict", *(["judged"] if inspector.declines else [])]
    with replacing(target) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about shape arithmetic that the parity gate checks
        torch.onnx.export(
            inspector.cpu().eval(),
            (example,),
            str(temporary),
            input_names=["images"],
            output_names=["map", *of_images],
            dynamic_axes={
                "images": {0: "n", 1: "h", 2: "w"},
                "map": {0: "n", 1: "h", 2: "w"},
                **{name: {0: "n"} for name in of_images},
            },
            opset_version=OPSET,
            dynamo=False,
            keep_initializers_as_inputs=False,
        )
        model = onnx.load(temporary)
        smallest = math.ceil(STRIDE / inspector.scale)  # less than one cell of the coarsest maps at working scale
        _describe(model, {"channels": str(channels), "min_side": str(smallest), **properties})
        onnx.checker.check_model(model)
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def set_threshold(path: Path, threshold: float, pixel_threshold: float) -> None:
    """Write ``threshold`` into the exported graph and both thresholds into its metadata."""
    model = onnx.load(path)
    value = np.array(threshold, np.float32)
    users = [node.op_type for node in model.graph.node if THRESHOLD in node.input]
    found = [initializer for initializer in model.graph.initializer if initializer.name == THRESHOLD]
    if users != ["Greater"] or len(found) != 1:
        raise BadModel(f"{path}: the threshold is used by {users or 'nothing'}, not by one comparison; export the model again")
    found[0].CopyFrom(numpy_helper.from_array(value, THRESHOLD))
    _describe(model, {"threshold": repr(float(value)), "pixel_threshold": repr(float(pixel_threshold))})
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _describe(model: onnx.ModelProto, properties: dict[str, str]) -> None:
    kept = {p.key: p.value for p in model.metadata_props}
    kept.update({f"changeover.{key}": value for key, value in properties.items()})
    del model.metadata_props[:]
    for key in sorted(kept):
        model.metadata_props.add(key=key, value=kept[key])

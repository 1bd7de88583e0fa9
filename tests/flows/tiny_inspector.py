"""An exported inspector of three operations: it rejects a picture with a nearly black or nearly white pixel."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

THRESHOLD = 0.47


def tiny_inspector(target: Path, channels: int) -> Path:
    """``target``: the map is each pixel's distance from middle grey, 0..0.5, the score its maximum."""
    import numpy as np

    def constant(name: str, value: object, kind: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, kind), name)

    nodes = [
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Div", ["grey", "most"], ["share"]),
        helper.make_node("Sub", ["share", "middle"], ["signed"]),
        helper.make_node("Abs", ["signed"], ["map"]),
        helper.make_node("ReduceMax", ["map"], ["score"], axes=[1, 2], keepdims=0),
        helper.make_node("Greater", ["score", "threshold"], ["verdict"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", channels])],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", "h", "w"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("verdict", TensorProto.BOOL, ["n"]),
        ],
        [constant("most", 255.0, np.float32), constant("middle", 0.5, np.float32), constant("threshold", THRESHOLD, np.float32)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = {"product": "bolt", "batch": "a", "detector": "tiny", "threshold": THRESHOLD, "pixel_threshold": THRESHOLD,
            "channels": channels, "min_side": 32}  # fmt: skip
    for key, value in told.items():
        model.metadata_props.add(key=f"changeover.{key}", value=str(value))
    onnx.save(model, target)
    return target

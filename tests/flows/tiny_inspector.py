"""An exported inspector of a few operations: it rejects a picture with a nearly black or nearly white pixel, and may decline one
that is bright."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

THRESHOLD = 0.47


def tiny_inspector(target: Path, channels: int, declines: bool = False) -> Path:
    """``target``: the map is each pixel's distance from middle grey, 0..0.5, the score its maximum. Where it ``declines``, it has
    the output ``judged``: False for a picture whose mean is above .6."""
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
        helper.make_node("Greater", ["score", "threshold"], ["above" if declines else "verdict"]),
    ]
    if declines:
        nodes += [
            helper.make_node("ReduceMean", ["share"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Greater", ["mean", "bright"], ["missed"]),
            helper.make_node("Not", ["missed"], ["judged"]),
            helper.make_node("Or", ["above", "missed"], ["verdict"]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", channels])],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", "h", "w"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("verdict", TensorProto.BOOL, ["n"]),
            *([helper.make_tensor_value_info("judged", TensorProto.BOOL, ["n"])] if declines else []),
        ],
        [
            constant(name, value, np.float32)
            for name, value in (("most", 255.0), ("middle", 0.5), ("bright", 0.6), ("threshold", THRESHOLD))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = {"product": "bolt", "batch": "a", "detector": "tiny", "threshold": THRESHOLD, "pixel_threshold": THRESHOLD,
            "channels": channels, "min_side": 32}  # fmt: skip
    for key, value in told.items():
        model.metadata_props.add(key=f"changeover.{key}", value=str(value))
    onnx.save(model, target)
    return target

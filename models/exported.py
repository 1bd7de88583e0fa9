"""The exported inspector, run as the line runs it: onnxruntime and numpy, nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BadImage, BadModel


@dataclass(frozen=True)
class Inspection:
    """``map``: float32 (H, W), in units of the threshold's scale. ``score``: its maximum. ``verdict``: True rejects the part.
    ``judged``: False where the model cannot judge the image, because the part was not found in it; the verdict is then True, and
    the score means nothing."""

    map: NDArray[np.float32]
    score: float
    verdict: bool
    judged: bool = True


class ExportedInspector:
    """``model.onnx`` of a version. ``threshold``, ``channels``, ``min_side`` (px), ``product``, ``batch``, ``detector`` come
    from its metadata. ``declines``: whether it may say of an image that it cannot judge it; many judge every one."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_providers(ort.get_available_providers()))
            properties = self._session.get_modelmeta().custom_metadata_map
            self.product, self.batch = properties["changeover.product"], properties["changeover.batch"]
            self.detector = properties["changeover.detector"]
            self.threshold = float(properties["changeover.threshold"])
            self.pixel_threshold = float(properties["changeover.pixel_threshold"])
            self.channels = int(properties["changeover.channels"])
            self.min_side = int(properties["changeover.min_side"])
            self.declines = any(output.name == "judged" for output in self._session.get_outputs())
        except Exception as error:  # onnxruntime raises a dozen types for a bad file
            raise BadModel(
                f"{path} is not an exported inspector ({type(error).__name__}); take a model.onnx that Changeover published"
            ) from error

    def inspect(self, image: NDArray[np.uint8]) -> Inspection:
        """Inspect one uint8 image (H, W, C) with as many channels as the model; BadImage otherwise."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or min(image.shape[:2]) < self.min_side:
            raise BadImage(
                f"image of {image.dtype} {image.shape} does not fit: the model takes uint8 (H, W, {self.channels}) "
                f"of at least {self.min_side} px a side; "
                f"convert it as the camera delivered the good images"
            )
        names = ["map", "score", "verdict", *(["judged"] if self.declines else [])]
        anomaly, score, verdict, *judged = self._session.run(names, {"images": np.ascontiguousarray(image)[None]})
        said = all(bool(one[0]) for one in judged)
        return Inspection(np.asarray(anomaly[0], np.float32), float(score[0]), bool(verdict[0]) or not said, said)


def _providers(available: list[str]) -> list[str]:
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]

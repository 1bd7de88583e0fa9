"""The registered model, as MLflow loads it anywhere: needs onnxruntime and numpy alone, and nothing of Changeover.

MLflow copies this file into every version (models from code), so it imports no other module of ours.
"""

import warnings
from typing import Any

import mlflow
import numpy as np

# Without type hints on predict: MLflow would read them as a schema, and images that differ in size have none. It warns of that
# when the class is made, wherever the model is loaded.
with warnings.catch_warnings(record=True):
    warnings.simplefilter("ignore")

    class LineModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
        """The exported inspector. ``predict`` takes images and gives a verdict and a score for each."""

        def load_context(self, context: Any) -> None:
            import onnxruntime

            self._session = onnxruntime.InferenceSession(context.artifacts["model"], providers=["CPUExecutionProvider"])
            self._channels = self._session.get_inputs()[0].shape[3]
            declines = any(output.name == "judged" for output in self._session.get_outputs())
            self._outputs = ["score", "verdict", *(["judged"] if declines else [])]

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            """``{"verdict": bool (N,), true = reject, "score": float32 (N,), "judged": bool (N,)}`` for uint8 images. The
            verdict on what is not judged is to reject it; its score says nothing.

            ``model_input`` is an array (N, H, W, C) or a list of arrays (H, W, C), which may differ in size; C is 1 or 3 as
            trained, H and W are at least 32.
            """
            verdicts, scores, judged = [], [], []
            for image in model_input:
                pixels = np.asarray(image)
                if pixels.dtype != np.uint8 or pixels.ndim != 3:
                    raise ValueError(
                        f"an image of {pixels.dtype} {pixels.shape} was given: uint8 (H, W, C) is needed; convert it"
                    )
                if isinstance(self._channels, int) and pixels.shape[2] != self._channels:
                    raise ValueError(
                        f"an image has {pixels.shape[2]} channels, the model was trained on {self._channels}; convert it"
                    )
                score, verdict, *said = self._session.run(self._outputs, {"images": pixels[None]})
                scores.append(score[0])
                verdicts.append(verdict[0])
                judged.append(all(one[0] for one in said))
            return {
                "verdict": np.array(verdicts, dtype=bool),
                "score": np.array(scores, dtype=np.float32),
                "judged": np.array(judged, dtype=bool),
            }


mlflow.models.set_model(LineModel())

"""onnxruntime, as far as training goes: `from aidgejax.frontends.onnxruntime.training import artifacts`."""

from .._shared.absent_names import absent_name

ITSELF = "inference is onnxruntime's own: import it from onnxruntime, without aidgejax.frontends"
ABSENT = dict.fromkeys(
    ("InferenceSession", "SessionOptions", "OrtValue", "IOBinding", "GraphOptimizationLevel", "get_available_providers",
     "quantization", "transformers"), ITSELF,
)  # fmt: skip


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)

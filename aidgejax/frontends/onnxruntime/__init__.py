"""onnxruntime, as far as training goes: `from aidgejax.frontends.onnxruntime.training import artifacts`."""

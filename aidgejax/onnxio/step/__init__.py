"""A training step in one ONNX file, for any runtime that can infer."""

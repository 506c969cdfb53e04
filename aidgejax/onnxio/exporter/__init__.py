"""From a Graph to an ONNX file: decomposition into standard operators, opset downgrades, deduplication."""

"""From an ONNX file to a Graph: validation, opset upgrades, function inlining, roles, shapes."""

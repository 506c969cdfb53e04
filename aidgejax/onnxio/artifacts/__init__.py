"""Training artifacts: the training, evaluation and optimizer models and the checkpoint of ONNX Runtime training."""

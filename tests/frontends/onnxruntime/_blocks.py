"""Training blocks as scripts write them."""

import aidgejax.frontends.onnxruntime.training.onnxblock as onnxblock


class Regression(onnxblock.TrainingBlock):
    def __init__(self):
        super().__init__()
        self.loss = onnxblock.loss.MSELoss()

    def build(self, name):
        return self.loss(name)

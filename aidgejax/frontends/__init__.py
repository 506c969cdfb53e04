"""Front ends: the import paths of other systems, so that their users' scripts run with only the import changed.

To port a script, put `aidgejax.frontends.` before the import.  A front end holds state and forwards calls; what
it computes stands in the core, where a convention that differs between systems is a named option.
"""

from ._shared.absent_modules import refuse_modules

C = "`python -m aidgejax quantize --target c` writes C for a quantized model (aidgejax.quant.write(..., form='c'))"
refuse_modules(
    __name__,
    {
        "aidge_export_cpp": C,
        "aidge_export_arm_cortexm": C,
        "aidge_export_tensorrt": "write the model with aidge_onnx.export_onnx; TensorRT reads ONNX",
        "aidge_interop_torch": "write the model with torch.onnx.export and read it with aidge_onnx.load_onnx",
        "aidge_interop_keras": "write the model with tf2onnx and read it with aidge_onnx.load_onnx",
        "aidge_model_explorer": "`python -m aidgejax view model.onnx` draws a model and its gradient",
        "torch": "use torch itself, torch.onnx.export and aidgejax.onnxio.read",
    },
)

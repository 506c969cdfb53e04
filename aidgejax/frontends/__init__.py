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
        "aidge_benchmark": "aidgejax.tools.profile times a graph node by node",
        "aidge_model_explorer": "`python -m aidgejax view model.onnx` draws a model and its gradient",
        **dict.fromkeys(
            (
                "aidge_core.export_utils",
                "aidge_core.mem_info",
                "aidge_core.aidge_export_aidge",
                "aidge_core.dummy_export",
            ),
            C,
        ),
        "aidge_core.utils": "its helpers belong to the C++ registry; operators of one's own are OperatorImpl in Python",
        "aidge_core.simplify_graph": "write ONNX with aidge_onnx.export_onnx, and simplify that file",
        **dict.fromkeys(
            (
                "aidge_onnx.node_import",
                "aidge_onnx.node_export",
                "aidge_onnx.onnx_import",
                "aidge_onnx.onnx_export",
                "aidge_onnx.utils",
            ),
            "aidge_onnx itself has load_onnx and export_onnx; a node that is not known becomes a GenericOperator",
        ),
        "torch": "use torch itself, torch.onnx.export and aidgejax.onnxio.read",
    },
)

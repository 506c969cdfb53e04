"""The public names of onnxruntime.training 1.19.2, module by module, and what to use instead of absent ones."""

from __future__ import annotations

NAMES = {
    "training": "PropagateCastOpsStrategy TrainingParameters amp artifacts is_ortmodule_available optim",
    "training.amp": "DynamicLossScaler LossScaler",
    "training.amp.loss_scaler": "DynamicLossScaler LossScaler",
    "training.api": "CheckpointState LinearLRScheduler Module Optimizer",
    "training.api.checkpoint_state": "CheckpointState OrtValue Parameter Parameters Properties",
    "training.api.lr_scheduler": "LinearLRScheduler Optimizer",
    "training.api.module": "CheckpointState Module OrtValue OrtValueVector SessionOptions get_ort_device_type",
    "training.api.optimizer": "Optimizer",
    "training.artifacts": (
        "LossType OptimType OptimizationStyle USE_PATH_THRESHOLD convert_onnx_models_to_ort generate_artifacts "
        "onnxblock"
    ),
    "training.experimental": "export_gradient_graph",
    "training.onnxblock": (
        "Block ForwardBlock TrainingBlock base custom_op_library empty_base load_checkpoint_to_model save_checkpoint"
    ),
    "training.onnxblock.blocks": (
        "Abs Add Block Cast Clip Constant Div InputLike LabelEncoder Linear Log Mul Neg PassThrough Pow "
        "ReduceAllL2 ReduceMean ReduceSum SequenceConstruct Sigmoid Sub"
    ),
    "training.onnxblock.checkpoint_utils": "load_checkpoint_to_model save_checkpoint",
    "training.onnxblock.loss": "BCEWithLogitsLoss CrossEntropyLoss L1Loss MSELoss",
    "training.onnxblock.loss.loss": "BCEWithLogitsLoss CrossEntropyLoss L1Loss MSELoss",
    "training.onnxblock.model_accessor": "ModelAccessor base custom_op_library empty_base",
    "training.onnxblock.onnxblock": "ForwardBlock TrainingBlock",
    "training.onnxblock.optim": "AdamW ClipGradNorm SGD",
    "training.onnxblock.optim.optim": "AdamW AdamWOptimizer ClipGradNorm SGD SGDOptimizer",
    "training.optim": (
        "AdamConfig AdamWMode ConstantWarmupLRScheduler CosineWarmupLRScheduler FP16_Optimizer FusedAdam "
        "LambConfig LinearWarmupLRScheduler PolyWarmupLRScheduler SGDConfig"
    ),
    "training.optim.config": "AdamConfig LambConfig SGDConfig",
    "training.optim.fp16_optimizer": "FP16_Optimizer OptimizerModifierTypeRegistry get_full_qualified_type_name",
    "training.optim.fused_adam": "AdamWMode FusedAdam MultiTensorApply",
    "training.optim.lr_scheduler": (
        "ConstantWarmupLRScheduler CosineWarmupLRScheduler LinearWarmupLRScheduler PolyWarmupLRScheduler"
    ),
    "training.ort_triton": (
        "call_triton_by_name call_triton_by_onnx get_config register_triton_kernel register_triton_op_executor "
        "run_once_register_triton_op_executor"
    ),
    "training.ortmodule": (
        "DebugOptions LogLevel MINIMUM_RUNTIME_PYTORCH_VERSION_STR ONNXRUNTIME_CUDA_VERSION "
        "ONNXRUNTIME_ROCM_VERSION ONNX_OPSET_VERSION ORTMODULE_FALLBACK_POLICY ORTMODULE_FALLBACK_RETRY "
        "ORTMODULE_IS_DETERMINISTIC ORTMODULE_ONNX_EXPORT_CONTEXT ORTMODULE_TORCH_CPP_DIR ORTModule "
        "ORTModuleFallbackException ORTModuleInitException export_context is_ortmodule_available "
        "is_torch_cpp_extensions_installed ort_info override_torch_cuda_manual_seed override_torch_manual_seed "
        "register_graph_optimizer set_seed torch_cuda_manual_seed torch_manual_seed wrap_exception"
    ),
    "training.utils": (
        "ORTModelInputOutputSchemaType ORTModelInputOutputType PTable PrimitiveType extract_data_and_schema "
        "log_memory_usage nvtx_function_decorator onnx_dtype_to_pytorch_dtype "
        "pytorch_scalar_type_to_pytorch_dtype pytorch_type_to_onnx_dtype torch_nvtx_range_pop "
        "torch_nvtx_range_push unflatten_data_using_schema"
    ),
}

CONSTANTS = "it is of ONNX Runtime's own files; nothing here needs it"
TORCH = "it trains a torch module inside ONNX Runtime; use torch.onnx.export and artifacts"
WHY = {
    "training": CONSTANTS,
    "training.amp": "train in 16 bits with aidgejax.passes.precision, which scales the loss",
    "training.experimental": "artifacts.generate_artifacts writes the gradient as a graph of standard operators",
    "training.optim": "use onnxblock.optim in artifacts, or aidgejax.optim and aidgejax.schedule",
    "training.ort_triton": "XLA writes the kernels here",
    "training.ortmodule": TORCH,
    "training.utils": TORCH,
}

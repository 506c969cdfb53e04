"""The public names of apache-tvm 0.27 around relax, module by module, and what to use instead of absent ones."""

from __future__ import annotations

NAMES = {
    "": (
        "DataType DataTypeCode IRModule Object backend base build compile contrib cpu cuda device "
        "device_from_target driver error ext_dev get_global_func hexagon instrument ir libinfo metal opencl prim "
        "register_global_func register_object relax rocm rpc runtime s_tir script support sym target te tirx topi "
        "transform tvm_wrap_excepthook vpi vulkan"
    ),
    "contrib": "cudnn pickle_memoize thrust",
    "driver": "build build_module compile",
    "error": (
        "DiagnosticError InternalError OpAttributeInvalid OpAttributeRequired OpAttributeUnImplemented OpError "
        "OpNotImplemented RPCError RPCSessionTimeoutError register_error"
    ),
    "ir": (
        "Array Attrs BaseFunc Call CallingConv Constant DictAttrs EnvFunc Expr ExprOperand ExprWithOp FuncType "
        "GenericConst GlobalInfo GlobalVar IRModule Map Node Op OpaqueExpr OpaqueType PointerType PrimType Range "
        "SequentialSpan SourceName Span StringImm StringType TensorLoad TensorRegion Tuple TupleGetItem TupleType "
        "Type Var assert_structural_equal attrs base expr function global_info instrument is_prim_expr "
        "is_prim_var json_compact load_json make_node module op prim register_op_attr save_json supply transform "
        "type utils"
    ),
    "ir.attrs": "Attrs DictAttrs make_node",
    "ir.base": (
        "EnvFunc Node SequentialSpan SourceMap SourceName Span assert_structural_equal deprecated load_json save_json"
    ),
    "ir.instrument": (
        "DumpIR PassInstrument PassPrintingInstrument PassTimingInstrument PrintAfterAll PrintBeforeAll pass_instrument"
    ),
    "ir.module": "IRModule",
    "ir.op": "Op register_op_attr",
    "ir.transform": "ModulePass Pass PassContext PassInfo PrintIR Sequential module_pass",
    "relax": (
        "AnyType BasePyModule Binding BindingBlock BlockBuilder Call DataflowBlock DataflowBlockRewrite "
        "DataflowVar DummyGlobalInfo ExecBuilder Expr ExprFunctor ExternFunc FuncType Function GlobalVar If "
        "MatchCast ObjectType PackedFuncType PyExprMutator PyExprVisitor SeqExpr ShapeExpr ShapeType Span "
        "TensorType Tuple TupleGetItem TupleType Type VDevice VMExecutable VMInstrumentReturnKind Var VarBinding "
        "VirtualMachine analysis backend base_py_module binding_rewrite block_builder build call_dps_packed "
        "call_pure_packed call_tir call_tir_inplace call_tir_with_grad const convert_to_expr distributed dpl "
        "exec_builder expr expr_functor extern frontend get_default_pipeline get_pipeline get_shape_of "
        "global_info op pipeline prim_value register_pipeline training transform ty type utils vm_build"
    ),
    "relax.analysis": (
        "BaseCheckResult all_global_vars all_vars analysis bound_vars check_well_formed "
        "collect_non_negative_expressions computable_at_compile_time contains_impure_call "
        "definable_tir_vars_in_type defined_symbolic_vars derive_call_ret_type detect_recursion "
        "erase_to_well_defined estimate_memory_usage free_symbolic_vars free_vars get_static_type get_var2val "
        "has_reshape_pattern name_to_binding post_order_visit remove_all_unused suggest_layout_transforms "
        "tir_vars_in_type type_base_check type_lca udchain used_vars well_formed"
    ),
    "relax.backend": (
        "DispatchSampling DispatchSortScan adreno contrib cpu_generic cuda dispatch_sampling dispatch_sort_scan "
        "get_pattern get_patterns_with_prefix gpu_generic metal pattern_registry rocm utils"
    ),
    "relax.base_py_module": "BasePyModule",
    "relax.binding_rewrite": "DataflowBlockRewrite",
    "relax.block_builder": "BlockBuilder DataflowScope FunctionScope TestingScope",
    "relax.distributed": "DTensorType DeviceMesh Placement PlacementSpec device_mesh global_info transform type",
    "relax.dpl": (
        "AndPattern AttrPattern CallPattern ConstantPattern DFConstraint DFPattern DataTypePattern "
        "DataflowVarPattern ExprPattern ExprPatternRewriter ExternFuncPattern FunctionPattern GlobalVarPattern "
        "NotPattern OrPattern OrRewriter PatternContext PatternMatchingRewriter PatternSeq PrimArrPattern "
        "SameShapeConstraint ShapePattern TupleGetItemPattern TuplePattern TypePattern UnorderedTuplePattern "
        "VarPattern WildcardPattern context ffi has_attr has_dtype is_call_dps_packed is_call_packed is_call_tir "
        "is_const is_dfv is_expr is_gv is_op is_shape is_tuple is_tuple_get_item is_var "
        "make_fused_bias_activation_pattern pattern register_df_node reject rewrite rewrite_bindings rewrite_call "
        "wildcard"
    ),
    "relax.exec_builder": "ExecBuilder SpecialReg VMFuncKind VMFuncScope",
    "relax.expr": (
        "Binding BindingBlock DataflowBlock DataflowVar ExternFunc Function If MatchCast SeqExpr ShapeExpr "
        "TEPlaceholderOp VarBinding const extern get_shape_of make_shape prim_value te_tensor"
    ),
    "relax.expr_functor": "ExprFunctor PyExprMutator PyExprVisitor",
    "relax.frontend": "common detach_params nn",
    "relax.frontend.nn": (
        "BlockBuilder Conv1D Conv2D Conv3D ConvTranspose1D Effect Embedding ExternModule GELU GroupNorm IOEffect "
        "KVCache LayerNorm Linear Module ModuleDict ModuleList Mutator Object ObjectModule OutType Parameter "
        "ParameterDict ParameterList RMSNorm ReLU SiLU SourceModule SubroutineMixin Tensor add add_extern arange "
        "argsort astype broadcast_to ccl_allgather ccl_allreduce ccl_broadcast_from_worker0 chunk concat conv1d "
        "conv1d_transpose conv2d conv3d core cumsum debug_func divide empty equal exp exporter extern floor full "
        "gelu get_default_dtype get_timestep_embedding greater greater_equal group_norm interpolate layer_norm "
        "less less_equal log matmul max maximum min minimum modules multinomial_from_uniform multiply negative "
        "not_equal ones op pad permute permute_dims prelu print_ relu relu6 renormalize_top_p_top_k_prob repeat "
        "reshape rms_norm sample_top_p_top_k_from_sorted_prob scaled_dot_product_attention sigmoid silu softmax "
        "softplus sort spec split sqrt square squeeze subroutine subtract sum take tanh tensor_expr_op "
        "tensor_ir_inplace_op tensor_ir_op topk triu unsqueeze visitor where wrap_nested zeros"
    ),
    "relax.frontend.onnx": "from_onnx onnx_frontend",
    "relax.op": (
        "abs acos acosh add all_class_non_max_suppression arange argmax argmin argsort asin asinh assert_op "
        "astype atan atan2 atanh base binary bitwise_and bitwise_not bitwise_or bitwise_xor broadcast_to "
        "bucketize builtin call_builtin_with_ctx call_dps_packed call_inplace_packed call_pure_packed "
        "call_py_func call_tir call_tir_inplace call_tir_with_grad ccl ceil clip collapse_sum_like "
        "collapse_sum_to concat cos cosh create cumprod cumsum datatype dequantize distributed divide "
        "dynamic_strided_slice einsum equal erf ewise_fma exp expand_dims eye eye_like flatten flip floor "
        "floor_divide floor_mod full full_like gather_elements gather_nd get_valid_counts grad greater "
        "greater_equal hamming_window hint_on_device image index index_put index_tensor invoke_closure "
        "invoke_pure_closure isfinite isinf isnan layout_transform left_shift less less_equal linear "
        "linear_algebra log log_add_exp logical_and logical_not logical_or logical_xor make_closure manipulate "
        "mask masked_fill matmul max maximum mean median memory meshgrid min minimum mod multibox_transform_loc "
        "multinomial_from_uniform multiply negative nn non_max_suppression nonzero not_equal null_value one_hot "
        "ones ones_like op_attrs outer permute_dims power print prod qdq quantize register_gradient repeat "
        "reshape reverse_sequence right_shift roi_align roi_pool round rsqrt sampling scatter_elements scatter_nd "
        "search set shape_of shape_to_tensor sigmoid sign sin sinh size slice_scatter sort sorting split sqrt "
        "square squeeze stack statistical std strided_slice subtract sum take tan tanh tensor_to_shape ternary "
        "tile to_vdevice topk tril triu trunc unary unique variance vision where wrap_param zeros zeros_like"
    ),
    "relax.op.builtin": "alloc_tensor builtin stop_lift_params",
    "relax.op.ccl": "allgather allreduce broadcast_from_worker0 ccl scatter_from_worker0",
    "relax.op.grad": (
        "avg_pool2d_backward end_checkpoint grad max_pool2d_backward nll_loss_backward no_grad start_checkpoint "
        "take_backward"
    ),
    "relax.op.image": "affine_grid grid_sample image resize2d resize3d",
    "relax.op.memory": "alloc_storage alloc_tensor ensure_zero_offset kill_storage kill_tensor memory view",
    "relax.op.nn": (
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d attention attention_bias attention_var_len "
        "avg_pool1d avg_pool2d avg_pool3d batch_flatten batch_norm conv1d conv1d_transpose conv2d "
        "conv2d_transpose conv3d conv3d_transpose cross_entropy_with_logits dropout gelu gelu_tanh group_norm "
        "instance_norm layer_norm leakyrelu log_softmax max_pool1d max_pool2d max_pool3d nll_loss nn pad "
        "pixel_shuffle prelu relu relu6 rms_norm selu silu softmax softplus"
    ),
    "relax.op.vision": (
        "all_class_non_max_suppression get_valid_counts multibox_transform_loc nms non_max_suppression roi_align "
        "roi_pool"
    ),
    "relax.pipeline": (
        "dataflow_lower_passes default_build_pipeline finalize_passes get_default_pipeline get_pipeline "
        "legalize_passes library_dispatch_passes register_pipeline static_shape_tuning_pipeline zero_pipeline"
    ),
    "relax.testing": (
        "IRBuilder Linear LogSoftmax Module Parameter Placeholder ReLU Sequential ast_printer attention "
        "checkpoint dump_ast emit emit_checkpoint emit_checkpoint_sequential emit_te end_checkpoint "
        "get_relax_attention_module get_relax_matmul_module get_relax_stacked_attention_module init_params matmul "
        "nn start_checkpoint"
    ),
    "relax.testing.nn": (
        "Linear LogSoftmax Module Parameter Placeholder ReLU Sequential checkpoint emit emit_checkpoint "
        "emit_checkpoint_sequential emit_te init_params"
    ),
    "relax.training": "AppendLoss SetupTrainer Trainer loss optimizer setup_trainer trainer utils",
    "relax.training.loss": "CategoricalCrossEntropyLoss CrossEntropyLoss L1Loss Loss MSELoss",
    "relax.training.optimizer": "Adam MomentumSGD Optimizer SGD",
    "relax.training.setup_trainer": "SetupTrainer",
    "relax.training.trainer": "Trainer",
    "relax.training.utils": "AppendLoss register_te_gradient",
    "relax.transform": (
        "AdjustMatmulOrder AllocateWorkspace AlterOpImpl AnnotateTIROpPattern AttachAttrLayoutFreeBuffers "
        "AttachExternModules AttachGlobalSymbol BindParams BindSymbolicVars BundleModelParams CallTIRRewrite "
        "CanonicalizeBindings CombineParallelMatmul ComputePrimValue ConvertLayout ConvertToDataflow "
        "DataflowBlockPass DataflowUseInplaceCalls DeadCodeElimination DecomposeOpsForInference "
        "DecomposeOpsForTraining EliminateCommonSubexpr ExpandMatmulOfSum ExpandTupleArguments FastMathTransform "
        "FoldBatchnormToConv2D FoldConstant FunctionPass FuseOps FuseOpsByPattern FuseTIR FuseTransposeMatmul "
        "FusionPattern Gradient IPCAllReduceRewrite InlinePrivateFunctions KillAfterLastUse LambdaLift "
        "LazyGetInput LazySetOutput LazyTransformParams LegalizeOps LiftTransformParams LowerAllocTensor "
        "LowerGPUIPCAllocStorage LowerRuntimeBuiltin MergeCompositeFunctions MetaScheduleApplyDatabase "
        "MetaScheduleTuneIRMod MetaScheduleTuneTIR Normalize NormalizeGlobalVar OptimizeLayoutTransform "
        "PatternCheckContext RealizeVDevice RemovePurityChecking RemoveRedundantReshape RemoveUnusedOutputs "
        "RemoveUnusedParameters ReorderPermuteDimsAfterConcat ReorderTakeAfterMatmul RewriteCUDAGraph "
        "RewriteDataflowReshape RunCodegen SpecializePrimFuncBasedOnCallSite SplitCallTIRByPattern "
        "SplitLayoutRewritePreproc StaticPlanBlockMemory ToMixedPrecision ToNonDataflow TopologicalSort "
        "UpdateParamType UpdateVDevice VMBuiltinLower VMShapeLower attach_external_modules dataflowblock_pass "
        "fast_math fold_batch_norm_to_conv2d_for_inference function_pass fuse_transpose_matmul "
        "ipc_allreduce_rewrite lazy_transform_params legalize_ops lower_gpu_ipc_alloc_storage "
        "optimize_layout_transform remove_redundant_reshape transform"
    ),
    "relax.utils": "convert_to_expr copy_with_new_vars gen_call_tir_inputs metadata_partitioner",
    "rpc": "",
    "runtime": (
        "DataType DataTypeCode Device Executable Module Object ObjectConvertible Scriptable ShapeTuple Tensor "
        "const convert cpu cuda device device_from_target empty enabled executable ext_dev from_dlpack "
        "load_module load_param_dict load_param_dict_from_file load_static_library metal module num_threads "
        "object_generic opencl params rocm save_param_dict save_param_dict_to_file script_printer system_lib "
        "tensor vm vpi vulkan"
    ),
    "runtime.device": "Device",
    "runtime.vm": "VMInstrumentReturnKind VirtualMachine",
    "s_tir": "",
    "script": "ir_builder parser register_dialect",
    "script.parser": "core ir ir_module parse",
    "script.relax": (
        "Any Callable Else ExternFunc If Object Prim SeqExpr Shape ShapeExpr Tensor Then Tuple TupleGetItem abs "
        "acos acosh add arange arg argmax argmin argsort asin asinh assert_op astype atan atan2 atanh bitwise_and "
        "bitwise_not bitwise_or bitwise_xor broadcast_to bucketize call_builtin_with_ctx call_dps_packed "
        "call_inplace_packed call_packed call_pure_packed call_py_func call_tir call_tir_inplace "
        "call_tir_with_grad ceil clip collapse_sum_like collapse_sum_to concat const cos cosh cpu cuda cumprod "
        "cumsum dataflow dequantize device divide dtype dynamic_strided_slice einsum emit emit_match_cast emit_te "
        "emit_var_binding emit_with_ty emit_with_type equal erf ewise_fma exp expand_dims ext_dev eye eye_like "
        "flatten flip floor floor_divide floor_mod full full_like func_attr func_name func_ret_ty func_ret_type "
        "func_ret_value function gather_elements gather_nd greater greater_equal hamming_window hexagon "
        "hint_on_device index_put index_tensor invoke_closure invoke_pure_closure isfinite isinf isnan "
        "layout_transform left_shift less less_equal linear log log_add_exp logical_and logical_not logical_or "
        "logical_xor macro make_closure match_cast matmul max maximum mean median meshgrid metal min minimum mod "
        "multinomial_from_uniform multiply negative nonzero not_equal null_value one_hot ones ones_like opencl "
        "outer output permute_dims power prim_value print prod quantize repeat reshape reverse_sequence rewriter "
        "right_shift rocm round rsqrt scatter_elements scatter_nd shape shape_of shape_to_tensor sigmoid sign sin "
        "sinh size slice_scatter sort split sqrt square squeeze stack std stop_lift_params str strided_slice "
        "subtract sum take tan tanh tensor_to_shape tile to_vdevice topk tril triu trunc tuple unique variance "
        "vpi vulkan webgpu where wrap_param zeros zeros_like"
    ),
    "support": "cc describe libinfo nvcc popen_pool rocm tar utils",
    "target": "Target TargetKind codegen detect_target list_tags register_tag tag tag_registry target",
    "te": "",
    "testing": (
        "assert_allclose assert_prim_expr_equal check_bool_expr_is_true check_numerical_grads device_enabled "
        "enabled_targets env fixture generate_random_array identity_after install_request_hook is_ampere_or_newer "
        "local_run locking main np_dtype_from_str parameter rpc_run run_with_gpu_lock runner skip_if_32bit "
        "strtobool terminate_self utils"
    ),
    "testing.utils": (
        "assert_allclose assert_prim_expr_equal check_bool_expr_is_true check_numerical_grads device_enabled "
        "enabled_targets fixture generate_random_array identity_after install_request_hook is_ampere_or_newer "
        "main np_dtype_from_str parameter skip_if_32bit strtobool terminate_self"
    ),
    "tirx": "",
    "topi": "",
}

COMPILER = "it belongs to TVM's own code generation, which is out of scope: XLA compiles here"
PASSES = "XLA does this when a program is compiled; passes over graphs are written with aidgejax.passes"
TIR = "functions of TIR are out of scope; use the operators of relax.op"
NO_OPERATOR = "this operator is not here; write it with others of relax.op, or read a model with it by relax.from_onnx"
LAYERS = "read layers from ONNX (relax.from_onnx), or write them with relax.op.nn"
INTERNAL = "it is of TVM's own object system, which programs here do not need"
WHY = {
    "": COMPILER,
    "error": "the errors here are tvm.TVMError, tvm.InternalError and their kinds",
    "ir": INTERNAL,
    "relax": INTERNAL,
    "relax.analysis": "functions here are graphs: function.graph, function.params and aidgejax.passes answer this",
    "relax.backend": COMPILER,
    "relax.base_py_module": "call functions of NumPy or JAX between those of the module",
    "relax.distributed": "aidgejax.training places batches over devices",
    "relax.dpl": "patterns over graphs are aidgejax.passes.pattern",
    "relax.exec_builder": COMPILER,
    "relax.expr_functor": "passes over graphs are written with aidgejax.passes.edit and pattern",
    "relax.frontend": LAYERS,
    "relax.op": NO_OPERATOR,
    "relax.op.grad": NO_OPERATOR,
    "relax.op.nn": NO_OPERATOR,
    "relax.testing": LAYERS,
    "relax.training": INTERNAL,
    "relax.transform": PASSES,
    "relax.utils": INTERNAL,
    "rpc": COMPILER,
    "runtime": "tensors and devices here are JAX's: tvm.runtime.tensor, tvm.cpu(), tvm.cuda()",
    "s_tir": TIR,
    "script": "TVMScript here is what Relax needs: ir as I, relax as R; functions of TIR are out of scope",
    "script.relax": NO_OPERATOR,
    "target": "a target here names a platform: Target('llvm'), Target('cuda')",
    "te": TIR,
    "testing": "TVM's own test farm is not here",
    "tirx": TIR,
    "topi": TIR,
}

"""Members that objects of TVM 0.27 have and those here have not, with what to use instead."""

EXECUTABLE = (
    "XLA's programs stay in the process; aidgejax.onnxio.write(trainer.graph(), path) writes a model for others"
)
EXPRESSION = "TE and TIR are out of scope: emit operators of relax.op"
HANDLE = "scopes are opened by `with bb.function(...)` and `with bb.dataflow()` alone"
DEVICE = "ask JAX: device.jax is the jax.Device, with memory_stats() and device_kind"
TARGET = "XLA chooses its own settings; a target here names a platform"

MEMBERS: dict[str, dict[str, str]] = {
    "Expr": {
        **dict.fromkeys(("struct_info", "ty"), "its type is inferred when a BlockBuilder emits it: ask the Var"),
        **dict.fromkeys("script show equal expr_ty span attrs ty_args".split(), "emit it, and print the module"),
    },
    "Function": dict.fromkeys(
        "inline_functions create_empty span expr_ty ty equal astype".split(),
        "functions here are explicit graphs: see function.graph and aidgejax.passes",
    ),
    "IRModule": dict.fromkeys(
        ("global_infos", "update_global_info", "global_var_map_", "source_map"),
        "a module holds functions and attributes alone: mod.functions, mod.attrs",
    ),
    "VirtualMachine": {
        **dict.fromkeys(("NAIVE_ALLOCATOR", "POOLED_ALLOCATOR"), "XLA allocates; leave memory_cfg out"),
        "set_instrument": "trainer.profile_adjoint times every node",
        "invoke_closure": 'call the function: vm["main"](*args)',
        "profile": "trainer.profile_adjoint times every node of a backward pass",
    },
    "Executable": {
        **dict.fromkeys(("export_library", "stats"), EXECUTABLE),
        **dict.fromkeys(("as_text", "as_python"), "there is no bytecode; executable.mod is the module that was built"),
    },
    "BlockBuilder": {
        **dict.fromkeys(("call_te", "emit_te", "call_te_with_grad"), EXPRESSION),
        **dict.fromkeys(("begin_scope", "end_scope", "testing_scope"), HANDLE),
        "emit_normalized": "use emit",
        "lookup_binding": "function.body holds the bindings",
    },
    "Tensor": dict.fromkeys(("data_ptr", "strides"), "tensor.data is the jax.Array"),
    "Target": dict.fromkeys(
        ("attrs", "export", "features", "from_device", "get_kind_attr", "get_target_device_type", "host", "keys",
         "list_kinds", "tag", "target_or_current", "with_host"),
        TARGET,
    ),
    "Device": dict.fromkeys(
        ("api_version", "available_global_memory", "compute_version", "create_raw_stream", "device_name",
         "dlpack_device_type", "driver_version", "free_raw_stream", "l2_cache_size_bytes", "max_clock_rate",
         "max_shared_memory_per_block", "max_thread_dimensions", "max_threads_per_block", "multi_processor_count",
         "set_raw_stream", "texture_spatial_limit", "total_global_memory", "warp_size"),
        DEVICE,
    ),
}  # fmt: skip

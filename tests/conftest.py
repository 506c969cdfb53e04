import gc
import os
import sys
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
# Where in our code each operation of a program was written is read by no test: a twentieth of the time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Without byte code, each of some thirty processes that tests start compiles the package anew: half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Most programs here run for a millisecond after a second of compiling; so compiled they take a fifth of it.  XLA_FLAGS
# that are set, to nothing even, win: `.ci/run --slow` compiles as users do.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
if version("jaxlib").startswith("0.10."):  # later ones end the process at a flag that they no longer have
    QUICKLY["xla_cpu_use_fusion_emitters"] = False
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{flag}={str(value).lower()}" for flag, value in QUICKLY.items()))

# What JAX keeps of traced programs is walked by every full collection: a tenth of the suite's time.
gc.set_threshold(100_000, 20, 50)


# What takes half a minute in one process comes first: at the end of the queue one worker would wait for it or, where
# the tests of a file are shared out, compute it again.
LONG = ("tests/training/test_parallel.py", "tests/cli/test_launch.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish():
    """Modules, tables and tests stay to the end; the collector need not look at them again."""
    share_contexts()
    gc.collect()
    gc.freeze()


def share_contexts(programs=32):
    """JAX writes each program in an MLIR context of its own: 4 ms, a tenth of the suite's time.  So many share one."""
    from jax._src.interpreters import mlir

    make, shared = getattr(mlir, "make_ir_context", None), []
    if make is None:
        return

    def make_ir_context():
        if mlir.ir.Context.current is not None:  # asked for while another program is written
            return make()
        if not shared:
            shared.extend([make()] * programs)  # a context keeps what was written in it: constants, too
        return shared.pop()

    mlir.make_ir_context = make_ir_context

"""What the snippets of a page leave open (a model, data): run before them, so that each snippet runs as it is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
SNIPPET = re.compile(r"^( *)```python\n(.*?)^ *```", re.M | re.S)

DATA = """
import numpy as np
import aidgejax as aj
from aidgejax import analog, onnxio, optim, quant, schedule
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 8)).astype("float32")
data = aj.Dataset(x=x, target=(x[:, 0] > 0).astype("int64"))
test, batch = data, {"x": x}
graph = aj.infer_shapes(aj.zoo.mlp((8, 8, 8, 2)))
"""
SLOW = {"aihwkit.md", "tvm.md", "quantize.md", "quantized_files.md"}  # seconds of compilation: run with -m slow
BEFORE = {
    "aidge.md": """
import numpy as np
from tqdm import tqdm
from aidgejax.frontends import aidge_core
rng = np.random.default_rng(0)
x = rng.normal(size=(16, 64)).astype("float32")
dataprovider = [(x, np.eye(10, dtype="float32")[np.arange(16) % 10])] * 4
model = aidge_core.sequential([aidge_core.FC(64, 10, name="fc")])
""",
    "onnxruntime.md": """
from pathlib import Path
import numpy as np
import aidgejax as aj
g = aj.Graph("model")
y = g.op.BatchNormalization(
    g.input("x", ("N", 4)),
    g.parameter("bn.scale", np.ones(4, "float32")), g.parameter("bn.bias", np.zeros(4, "float32")),
    g.buffer("bn.running_mean", np.zeros(4, "float32")), g.buffer("bn.running_var", np.ones(4, "float32")),
)
weight, bias = g.parameter("fc.weight", np.ones((3, 4), "float32") / 9), g.parameter("fc.bias", np.zeros(3, "float32"))
g.output(g.op.Gemm(y, weight, bias, transB=1, name="logits"))
aj.onnxio.write(g, None, "model.onnx")
Path("out").mkdir()
x, labels = np.ones((2, 4), "float32"), np.array([0, 2])
""",
    "aihwkit.md": DATA + """
import jax
import aidgejax
from aidgejax.frontends.aihwkit.simulator.configs import TorchInferenceRPUConfig
config, key = TorchInferenceRPUConfig(), jax.random.key(0)
""",
    "singa.md": """
import numpy as np
from aidgejax.frontends.singa import autograd, opt
from aidgejax.frontends.singa.tensor import Tensor
inputs = Tensor(data=np.ones((8, 2), "float32"))
target = Tensor(data=np.eye(3, dtype="float32")[np.arange(8) % 3])
""",
    "tvm.md": """
import numpy as np
from aidgejax.frontends.tvm import relax
f32 = relax.TensorType
x = relax.Var("x", f32(("n", 1, 8, 8)))
w0, gamma, beta = relax.Var("w0", f32((16, 1, 3, 3))), relax.Var("gamma", f32((16,))), relax.Var("beta", f32((16,)))
w1, b1 = relax.Var("w1", f32((16 * 4 * 4, 10))), relax.Var("b1", f32((10,)))
mean, var = relax.Var("mean", f32((16,))), relax.Var("var", f32((16,)))
images, labels = np.ones((4, 1, 8, 8), "float32"), np.arange(4)
""",
    "quantized_files.md": DATA + """
from aidgejax.frontends.aihwkit.simulator.configs import TorchInferenceRPUConfig
config = TorchInferenceRPUConfig()
onnxio.write(quant.to_integer(quant.calibrate(quant.convert(graph, quant.bits(8)), data)), None, "q.onnx")
""",
    "CONTRIBUTING.md": """
import jax.numpy as jnp
operator = lambda name, **facts: lambda f: f  # the registry has this one already
""",
}  # fmt: skip


def snippets(page: Path) -> list[str]:
    """The page's Python, block by block."""
    return [textwrap.dedent(code) for _, code in SNIPPET.findall(page.read_text())]


def run(page: Path, names: dict) -> None:
    """Execute what the page leaves open, then its snippets, in one namespace; long trainings are cut to two epochs."""
    for code in (BEFORE.get(page.name, ""), *snippets(page)):
        exec(compile(re.sub(r"epochs=(10|20)\b", "epochs=2", code), str(page), "exec"), names)

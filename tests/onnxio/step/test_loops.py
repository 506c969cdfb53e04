"""The loops of the examples: Python with bound values, federated averaging, JavaScript in node."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import aidgejax as aj
from aidgejax.errors import ModelFileError
from aidgejax.training import optim

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("step_loop", EXAMPLES / "step_loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.lenet(8)), "cross_entropy")
    path = tmp_path_factory.mktemp("step") / "step.onnx"
    return aj.onnxio.write_step(graph, None, path, optimizer=optim.sgd(momentum=0.9), batch=4)


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.normal(size=(4, 1, 8, 8)).astype(np.float32), "target": rng.integers(0, 10, 4)} for _ in range(count)
    ]


def plain(step, given, rate=0.05):
    session = ort.InferenceSession(step.path)
    state, losses = dict(step.initial), []
    for batch in given:
        names = [o.name for o in session.get_outputs()]
        feeds = {**batch, **state, "learning_rate": np.array(rate, np.float32)}
        found = dict(zip(names, session.run(None, feeds), strict=True))
        state = {n: found[new] for n, new in step.state.items()}
        losses.append(float(found["loss"]))
    return losses, state


def test_bound_values_take_turns(example, step):
    loop = example.StepLoop(step.path)
    given = batches(8)
    losses = [loop(b, learning_rate=0.05) for b in given]
    want, state = plain(step, given)
    assert losses == want
    for name, value in loop.state().items():
        np.testing.assert_array_equal(value, state[name])
    for name, array in step.initial.items():
        np.testing.assert_array_equal(array, aj.onnxio.read_step(step.path).initial[name])


def test_files_that_were_not_written_together_are_told_apart(example, step, tmp_path):
    """A writer that is killed between its files leaves the new state beside the old step."""
    for values, refused in (
        (np.ones(6, np.float32), "other values"),
        (np.ones(3, np.float32), r"has 'conv1.bias' as float32\[3\]"),
    ):
        shutil.copy(step.path, tmp_path / "s.onnx")
        np.savez(tmp_path / "s.npz", **{**step.initial, "conv1.bias": values})
        with pytest.raises(ModelFileError, match=refused):
            aj.onnxio.read_step(tmp_path / "s.onnx")
        with pytest.raises(SystemExit, match="s.npz"):
            example.StepLoop(str(tmp_path / "s.onnx"))
    loop = example.StepLoop(step.path)
    (batch,) = batches(1)
    loop(batch, learning_rate=0.05)
    loop.save(tmp_path / "saved.npz")
    again = example.StepLoop(step.path, state=tmp_path / "saved.npz")
    assert again(batch, learning_rate=0.05) == loop(batch, learning_rate=0.05)


def test_a_federated_round_is_the_mean_of_the_states(example, step):
    loops = [example.StepLoop(step.path) for _ in range(2)]
    for k, loop in enumerate(loops):
        for b in batches(2, k):
            loop(b, learning_rate=0.05)
    states = [loop.state(loop.known["parameters"]) for loop in loops]
    mean = example.federated_average(states, [1, 3])
    for name in mean:
        np.testing.assert_allclose(mean[name], 0.25 * states[0][name] + 0.75 * states[1][name], atol=1e-7)


@pytest.mark.peer
def test_node_trains_as_python_does(step, tmp_path):
    """With onnxruntime-web; AIDGEJAX_NODE_MODULES names the folder where npm has installed it."""
    modules = os.environ.get("AIDGEJAX_NODE_MODULES") or EXAMPLES / "step_in_browser" / "node_modules"
    if shutil.which("node") is None or not (Path(modules) / "onnxruntime-web").is_dir():
        pytest.skip("needs node, and npm install in examples/step_in_browser")
    for name in ("step.mjs", "in_node.mjs"):
        shutil.copy(EXAMPLES / "step_in_browser" / name, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(modules)
    given = batches(20)
    (tmp_path / "batches.json").write_text(json.dumps([{k: v.ravel().tolist() for k, v in b.items()} for b in given]))
    command = ["node", "in_node.mjs", step.path, step.path.replace(".onnx", ".bin"), "batches.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), plain(step, given)[0], atol=1e-5)


@pytest.mark.peer
def test_c_trains_as_python_does(step, tmp_path):
    """With a C compiler; AIDGEJAX_ONNXRUNTIME_HEADERS names the folder that onnxruntime_c_api.h stands in."""
    headers = os.environ.get("AIDGEJAX_ONNXRUNTIME_HEADERS")
    library = sorted((Path(ort.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if headers is None or not library or shutil.which("cc") is None:
        pytest.skip("needs cc, onnxruntime's C headers and its shared library")
    built = str(tmp_path / "step_loop")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library[-1])  # the name that the library calls itself by
    source = ["-Wall", "-Wextra", "-Werror", str(EXAMPLES / "step_loop.c"), f"-I{headers}", str(library[-1])]
    subprocess.run(["cc", "-O2", *source, f"-Wl,-rpath,{tmp_path}", "-o", built], check=True)
    given = batches(41)
    inputs = [i.name for i in ort.InferenceSession(step.path).get_inputs() if i.name in step.batch]
    (tmp_path / "data.bin").write_bytes(b"".join(b[n].tobytes() for b in given for n in inputs))
    files = [step.path, step.path.replace(".onnx", ".bin"), str(tmp_path / "data.bin")]
    out = tmp_path / "trained.bin"
    done = subprocess.run([built, *files, "41", "0.05", str(out)], capture_output=True, text=True, check=True)
    losses, state = plain(step, given)
    shown = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(shown, [losses[0], losses[20], losses[40]], atol=1e-6)
    whole = np.concatenate([np.asarray(state[n], np.float32).ravel() for n in step.initial])
    np.testing.assert_allclose(np.fromfile(out, np.float32), whole, atol=1e-6)
    assert done.stderr == ""
    files[1] = str(out)
    done = subprocess.run([built, *files, "1", "0.05", str(out)], capture_output=True, text=True, check=True)
    assert "going on" in done.stderr
    out.write_bytes(out.read_bytes() + b"0")
    assert subprocess.run([built, *files, "1", "0.05", str(out)], capture_output=True).returncode == 1

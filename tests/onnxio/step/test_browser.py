"""The example's page in headless chromium: it trains on what is drawn, as Python does, and saves the trained model."""

import json
import os
import runpy
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import aidgejax as aj

PAGE = Path(__file__).parents[3] / "examples" / "step_in_browser"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# What a person does: draw two digits, train, ask; then one known batch after another.
VISITOR = """
<script type="module">
const $ = (id) => document.getElementById(id);
const post = (data) => fetch("/seen", { method: "POST", body: JSON.stringify(data) });
try {
  const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
  const shown = () => $("status").textContent;
  const draw = (points) => {
    const box = $("drawing").getBoundingClientRect();
    for (const [x, y] of points) $("drawing").dispatchEvent(new PointerEvent("pointermove",
      { buttons: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
  };
  const one = Array.from({ length: 20 }, (_, k) => [0.5, 0.1 + k * 0.04]);
  const zero = Array.from({ length: 40 }, (_, k) => [0.5 + 0.3 * Math.cos(k / 6), 0.5 + 0.4 * Math.sin(k / 6)]);
  await until(() => shown().startsWith("ready"));
  draw(one); $("classes").children[1].click();
  draw(zero); $("classes").children[0].click();
  for (let k = 1; k <= 3; k++) { $("train").click(); await until(() => shown().startsWith(`step ${20 * k}:`)); }
  const last = shown();
  draw(one); $("recognize").click(); await until(() => shown().startsWith("this is"));
  const first = shown();
  $("clear").click(); draw(zero); $("recognize").click();
  await until(() => shown().startsWith("this is") && shown() !== first);
  const plotted = $("curve").getContext("2d").getImageData(0, 0, 384, 256).data.some((v) => v > 0);
  const ort = await import("./node_modules/onnxruntime-web/dist/ort.bundle.min.mjs");
  const { StepLoop, trainedModel } = await import("./step.mjs");
  const bytes = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const loop = await StepLoop.open(ort, await bytes("step.onnx"), await bytes("step.bin")), losses = [];
  for (const b of await (await fetch("batches.json")).json()) losses.push(await loop.run(b, { learning_rate: 0.05 }));
  const model = Array.from(trainedModel(await bytes("model.onnx"), loop.trained()));
  await post({ last, answers: [first, shown()], plotted, losses, model });
} catch (e) { await post({ error: String(e.stack ?? e) }); }
</script>
"""


@pytest.mark.peer
def test_the_page_trains_as_python_does(tmp_path):
    """AIDGEJAX_NODE_MODULES names the folder where npm has installed onnxruntime-web."""
    modules = Path(os.environ.get("AIDGEJAX_NODE_MODULES") or PAGE / "node_modules")
    if BROWSER is None or not (modules / "onnxruntime-web").is_dir():
        pytest.skip("needs chromium, and npm install in examples/step_in_browser")
    served = tmp_path / "served"
    shutil.copytree(PAGE, served, ignore=shutil.ignore_patterns("node_modules"))
    (served / "node_modules").symlink_to(modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["make_files.py", str(served)])
        runpy.run_path(str(PAGE / "make_files.py"))
    page = served / "index.html"
    page.write_text(page.read_text().replace("</body>", VISITOR + "</body>"))
    rng = np.random.default_rng(0)
    batches = [
        {"x": rng.normal(size=(8, 1, 8, 8)).astype(np.float32), "target": rng.integers(0, 10, 8)} for _ in range(20)
    ]
    (served / "batches.json").write_text(json.dumps([{k: v.ravel().tolist() for k, v in b.items()} for b in batches]))
    seen = visit(served, tmp_path / "profile")
    assert "error" not in seen, seen["error"]
    assert float(seen["last"].split()[-1]) < 0.1 and seen["plotted"]
    assert seen["answers"] == ["this is a 1", "this is a 0"]

    step = aj.onnxio.read_step(served / "step.onnx")
    session, state = ort.InferenceSession(step.path), dict(step.initial)
    names = [o.name for o in session.get_outputs()]
    for batch, loss in zip(batches, seen["losses"], strict=True):
        rate = np.array(0.05, np.float32)
        found = dict(zip(names, session.run(None, {**batch, **state, "learning_rate": rate}), strict=True))
        state = {n: found[new] for n, new in step.state.items()}
        np.testing.assert_allclose(loss, found["loss"], atol=1e-5)
    trained = aj.onnxio.read(bytes(seen["model"]))
    for p in step.parameters:
        np.testing.assert_allclose(trained.params[p], state[p], atol=1e-5)


def visit(folder, profile):
    """What the page has posted."""
    seen, done = {}, threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self):
            seen.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    browser = subprocess.Popen([*command, f"http://127.0.0.1:{server.server_port}/index.html"], **quiet)
    try:
        assert done.wait(90), "the page has not answered within 90 seconds"
    finally:
        browser.terminate()
        browser.wait(20)
        server.shutdown()
        server.server_close()
    return seen

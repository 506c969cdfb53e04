"""Gradient, checkpoints and the profile of an adjoint, on explicit graphs."""

import json
import time

import numpy as np
import pytest

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax import training
from aidgejax.frontends.tvm.runtime.profiling import Report

from .programs import backbone, mlp, setup, var

R, T = relax.op, relax.TensorType
RNG = np.random.default_rng(5)


def run(mod, name, *arrays):
    return relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())[name](*arrays)


def chain(mark):
    """matmul, then (between checkpoints) tanh, exp, sin, then matmul and tanh."""
    x, w = var("x", (3, 4)), var("w", (4, 4))
    bb = relax.BlockBuilder()
    with bb.function("main", [x, w]):
        with bb.dataflow():
            a = bb.emit(R.matmul(x, w), "a")
            inner = bb.emit(R.grad.start_checkpoint(a)) if mark else a
            for k, f in enumerate((R.tanh, R.exp, R.sin)):
                inner = bb.emit(f(inner), f"inner{k}")
            inner = bb.emit(R.grad.end_checkpoint(inner)) if mark else inner
            out = bb.emit_output(R.sum(R.tanh(R.matmul(inner, w))), "out")
        bb.emit_func_output(out)
    return relax.transform.Gradient("main", require_grads=[x, w])(bb.get())


def test_checkpoints_are_computed_again_in_the_explicit_graph():
    x, w = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=(4, 4)).astype(np.float32)
    plain, marked = chain(False), chain(True)
    for a, b in zip(*[(o, *g) for o, g in (run(m, "main_adjoint", x, w) for m in (plain, marked))], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6)
    graph = marked["main_adjoint"].graph
    again = [o for n in graph.nodes for o in n.output_names if o.endswith("_cp")]
    assert again == ["inner0_cp", "inner1_cp", "inner2_cp"]
    names = [o for n in graph.nodes for o in n.output_names]
    assert names.index("out") < names.index("inner0_cp"), "again in the backward part"
    backward = graph.nodes[names.index("out") + 1 :]
    assert not {"inner0", "inner1", "inner2"} & {i for n in backward for i in n.input_names}
    assert not any("checkpoint" in n for n in names), "the marks are gone"
    assert not any(o.endswith("_cp") for n in plain["main_adjoint"].graph.nodes for o in n.output_names)


def test_checkpoints_in_a_trainer_change_no_number():
    seen = []
    for mark in (False, True):
        spec = mlp(activation="tanh")
        if mark:
            first, last = spec["ops"][1:3], spec["ops"][4]
            spec["ops"] = [
                ["c0", "grad.start_checkpoint", ["x"], {}],
                ["m0", "matmul", ["c0", "w0"], {}],
                *first,
                ["c1", "grad.end_checkpoint", ["a0"], {}],
                ["m1", "matmul", ["c1", "w1"], {}],
                last,
            ]
        mod, t = setup(backbone(spec), training.loss.MSELoss(), training.optimizer.Adam(0.01), [T((4, 5)), T((4, 5))])
        assert ("_cp" in str(mod["backbone_loss_adjoint"])) == mark
        np.random.seed(0)
        t.xaiver_uniform_init_params()
        x, y = np.random.rand(4, 6).astype(np.float32), np.random.rand(4, 5).astype(np.float32)
        seen.append([float(t.update(x, y)) for _ in range(3)])
    np.testing.assert_allclose(*seen, rtol=1e-6)


def test_intermediate_variables_tuples_and_what_does_not_reach():
    x, unused = var("x", (2, 3)), var("unused", (2,))
    pair = relax.Var("pair", relax.TupleType([T((2, 3)), T((3,))]))
    count = var("count", (2,), "int64")
    bb = relax.BlockBuilder()
    with bb.function("main", [x, pair, unused, count]):
        with bb.dataflow():
            y = bb.emit(R.multiply(x, relax.TupleGetItem(pair, 0)))
            other = bb.emit_output(R.exp(x))
            z = bb.emit_output(R.sum(R.add(y, pair[1])))
        bb.emit_func_output((other, z))
    mod = bb.get()
    a, b, c = np.full((2, 3), 2, np.float32), np.full((2, 3), 5, np.float32), np.ones(3, np.float32)
    args = a, (b, c), np.ones(2, np.float32), np.arange(2)
    adjoint = relax.transform.Gradient("main", require_grads=[y, pair, x, unused], target_index=1)(mod)
    (first, second), (dy, (d0, d1), dx, du) = run(adjoint, "main_adjoint", *args)
    assert float(second) == 2 * 3 * 11 and first.shape == (2, 3)
    for got, expected in ((dy, np.ones((2, 3))), (d0, a), (d1, np.full(3, 2)), (dx, b), (du, np.zeros(2))):
        np.testing.assert_array_equal(got.numpy(), expected)
    _, grads = run(relax.transform.Gradient("main", target_index=1)(mod), "main_adjoint", *args)
    assert len(grads) == 4 and grads[3].dtype == "int64" and not grads[3].numpy().any()


def profiled():
    mod, t = setup(
        backbone(mlp(batch=64, sizes=(128, 256, 10))),
        training.loss.CrossEntropyLoss(),
        training.optimizer.SGD(0.1),
        [T((64, 10)), T((64,), "int64")],
        profile=True,
    )
    t.xaiver_uniform_init_params()
    return mod, t, (RNG.normal(size=(64, 128)).astype(np.float32), RNG.integers(0, 10, 64))


def test_the_profile_times_every_node_by_executing_it():
    mod, t, batch = profiled()
    before = t.export_params()
    report = t.profile_adjoint(*batch)
    assert [c["Name"] for c in report.calls] == [n.name for n in mod["backbone_loss_adjoint"].graph.nodes]
    wall = report.configuration["Node by node (us)"]
    assert 0.5 <= sum(c["Duration (us)"] for c in report.calls) / wall <= 2
    assert all(c["Duration (us)"] > 0 and c["Device"] == "cpu0" and c["Count"] == 1 for c in report.calls)
    assert report.calls[0]["Argument Shapes"] == "float32[64, 128], float32[128, 256]"
    assert report.configuration["Fused adjoint (us)"] > 0 and report.configuration["Fused step (us)"] > 0
    for a, b in zip(before.values(), t.export_params().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert float(t.export_optim_states()["num_steps"]) == 0
    assert np.isfinite(float(t.update(*batch)))


def test_the_profile_agrees_with_a_clock_outside():
    _, t, batch = profiled()
    t.profile_adjoint(*batch)
    began = time.perf_counter()
    report = t.profile_adjoint(*batch)
    whole = (time.perf_counter() - began) * 1e6
    assert report.configuration["Node by node (us)"] * report.configuration["Passes"] < whole


def row(name, duration, percent, shapes):
    return {
        "Name": name,
        "Duration (us)": duration,
        "Percent": percent,
        "Device": "cpu0",
        "Count": 1,
        "Argument Shapes": shapes,
    }


ROWS = [row("b", 1234.5, 60.0, 'say "f"'), row("a", 400.25, 20.0, "f[2]"), row("a", 400.25, 20.0, "f[2]")]


def test_a_report_as_a_table():
    report = Report(ROWS, {"cpu0": {"Duration (us)": 2035.0, "Percent": 100.0}}, {"Executor": "VM"})
    assert str(report).splitlines() == [
        "Name        Duration (us)  Percent  Device  Count  Argument Shapes",
        'b                1,234.50    60.00    cpu0      1          say "f"',
        "a                  800.50    40.00    cpu0      2             f[2]",
        "----------",
        "Sum              2,035.00   100.00              3",
        "Total            2,035.00   100.00    cpu0",
        "",
        "Configuration",
        "-------------",
        "Executor: VM",
    ]
    plain = report.table(sort=False, aggregate=False, col_sums=False).splitlines()
    assert [line[:1] for line in plain[:4]] == ["N", "b", "a", "a"] and plain[4] == ""


def test_a_report_as_csv_and_json():
    rows = [*ROWS, {"Name": "c", "Duration (us)": 1.0}]
    report = Report(rows, {"cpu0": {"Duration (us)": 2036.0}}, {"Executor": "VM"})
    lines = report.csv().splitlines()
    assert lines[0] == "Argument Shapes,Count,Device,Duration (us),Name,Percent"
    assert lines[1] == '"say ""f""",1,"cpu0",1234.5,"b",60.0' and lines[4] == ',,,1.0,"c",'
    data = json.loads(report.json())
    assert data["calls"][0]["Duration (us)"] == {"microseconds": 1234.5}
    assert data["calls"][0]["Name"] == {"string": "b"} and data["calls"][0]["Count"] == {"count": 1}
    assert data["calls"][0]["Percent"] == {"percent": 60.0}
    assert data["device_metrics"] == {"cpu0": {"Duration (us)": {"microseconds": 2036.0}}}
    again = Report.from_json(report.json())
    assert again.calls == report.calls and str(again) == str(report)


def test_dataflow_is_one_block():
    x = var("x", (2,))
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            y = bb.emit_output(R.exp(x))
        with bb.dataflow():
            z = bb.emit_output(R.sum(y))
        bb.emit_func_output(z)
    with pytest.raises(
        tvm.InternalError,
        match="now only support one dataflow block: function 'main' has a dataflow block and a dataflow block",
    ):
        relax.transform.Gradient("main")(bb.get())

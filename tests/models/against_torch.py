"""Exporting torch modules, and both sides' loss and gradients."""

import copy
import io
import warnings

import jax
import numpy as np
import onnx
import torch
import torch.nn.functional as F

import aidgejax as aj


def exported(module, inputs, exporter, *, folded=False, symbolic=True, opset=None):
    """The module as a ModelProto.

    exporter: "script" (TorchScript) or "dynamo".  folded: with the exporter's own constant folding and fusion, or with
    every parameter under its name.  symbolic: with a batch called "batch", or burnt in.
    """
    args = tuple(torch.tensor(a) for a in inputs.values())
    names = {"input_names": list(inputs), "output_names": ["y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            free = tuple({0: torch.export.Dim("batch", min=1, max=4096)} for _ in args) if symbolic else None
            program = torch.onnx.export(
                copy.deepcopy(module),
                args,
                None,
                dynamo=True,
                optimize=folded,
                verbose=False,
                dynamic_shapes=free,
                opset_version=opset or 18,
                **names,
            )
            return program.model_proto
        file = io.BytesIO()
        free = {n: {0: "batch"} for n in (*inputs, "y")} if symbolic else None
        mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(
            module,
            args,
            file,
            dynamo=False,
            do_constant_folding=folded,
            dynamic_axes=free,
            opset_version=opset or 17,
            training=mode,
            **names,
        )
    return onnx.load_model_from_string(file.getvalue())


def torch_gradients(module, inputs, target, loss):
    """(loss, {parameter: gradient}, {floating input: gradient}, output)"""
    module.zero_grad()
    args = {k: torch.tensor(a, requires_grad=a.dtype.kind == "f") for k, a in inputs.items()}
    y = module(*args.values())
    scores = y if y.ndim != 3 or loss == "mse" else y.transpose(1, 2)
    value = (F.cross_entropy if loss == "cross_entropy" else F.mse_loss)(scores, torch.tensor(target))
    value.backward()
    return (
        value.item(),
        {n: p.grad.numpy().copy() for n, p in module.named_parameters()},
        {n: a.grad.numpy() for n, a in args.items() if a.grad is not None},
        y.detach().numpy(),
    )


def with_loss(graph, loss):
    """A copy with "loss"; classes of sequences are turned to axis 1."""
    graph, (y,) = graph.copy(), graph.outputs
    if loss == "cross_entropy" and graph.value(y).rank == 3:
        y = graph.op.Transpose(y, perm=(0, 2, 1)).name
        graph = aj.infer_shapes(graph)
    return aj.with_loss(graph, loss, prediction=y)


def our_gradients(graph, inputs, target, loss, *, wrt=None, training=None):
    """The same from a graph: (loss, {name: gradient}, output, {buffer: next value})"""
    (y,) = graph.outputs
    graph = with_loss(graph, loss)
    batch = {**inputs, "target": target}
    wide = next(iter(graph.params.values())).dtype == np.float64
    with jax.enable_x64(wide):
        program = aj.make_program(graph, wrt=wrt, seeds=["loss"], training=training)

        def step(params, buffers, batch):
            outputs, saved, buffers = program.forward(params, buffers, batch, jax.random.key(0))
            return outputs, program.backward(params, saved, {"loss": 1.0}), buffers

        outputs, grads, buffers = jax.jit(step)(graph.params, graph.buffers, batch)
        numbers = lambda tree: {k: np.asarray(v) for k, v in tree.items()}
        return float(outputs["loss"]), numbers(grads), np.asarray(outputs[y]), numbers(buffers)


def matched(graph, module):
    """{our parameter: (torch's, transposed)}: by name, or where an exporter folded a transposition, by its numbers."""
    theirs, found = {n: p.detach().numpy() for n, p in module.named_parameters()}, {}
    for name, ours in graph.params.items():
        if name in theirs:
            found[name] = (name, False)
            continue
        for n, p in theirs.items():
            for turned in (False, True):
                data = p.T if turned else p
                if data.shape == ours.shape and np.array_equal(data, ours) and p.size > 1:
                    found[name] = (n, turned)
    return found


def worst(got, want):
    """The largest share that the norm of a difference takes of what is allowed: |want| + 1e-2 of the largest norm.

    At most 1e-4 is the same as 1e-4 of the gradient's norm plus 1e-6 of the largest.
    """
    largest = max(np.linalg.norm(w) for w in want.values())
    shares = {n: np.linalg.norm(got[n] - w) / (np.linalg.norm(w) + 1e-2 * largest) for n, w in want.items()}
    name = max(shares, key=shares.get)
    return shares[name], name

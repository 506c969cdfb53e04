"""Small behaviours of the real Aidge 0.10.1: a piece of Python over its names, and the value that it gave there."""

import gc
import glob
import json
import os
import pathlib
import tempfile
import warnings

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac

PAGE = json.loads((pathlib.Path(__file__).parents[2] / "golden/aidge_quantization/api.json").read_text())


def tensor(rows):
    made = ac.Tensor(np.array(rows, np.float32))
    made.set_backend("cpu")
    return made


def filled(graph, seed):
    """Every Producer filled, in the order of its name, from one generator; {name: dims}."""
    rng, found = np.random.default_rng(seed), {}
    for node in sorted((n for n in graph.get_nodes() if n.type() == "Producer"), key=lambda n: n.name()):
        dims = node.get_operator().get_output(0).dims
        node.get_operator().set_output(0, tensor(rng.normal(0, 0.5, dims)))
        found[node.name()] = list(dims)
    return found


def alike(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, int | float) and isinstance(b, int | float) and a == pytest.approx(b, rel=1e-5, abs=1e-5)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize("case", [c for c in PAGE["cases"] if "aq." not in c["code"]], ids=lambda c: c["name"])
def test_the_same_text_gives_the_same_value(case):
    names = {"ac": ac, "np": np, "F": np.float32, "T": tensor, "A": lambda t: np.array(t).tolist(), "W": filled}
    names |= {"json": json, "os": os, "glob": glob, "pathlib": pathlib, "tempfile": tempfile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the snippets leave files open
        exec(case["code"], names)
        gc.collect()
    result, want = names["result"], case["result"]
    if case["name"] == "save_load":  # Aidge's archive holds a pickle; this one does not
        want = [*want[:3], [n for n in want[3] if n != "nodes.pkl"]]
    assert alike(result, want), result

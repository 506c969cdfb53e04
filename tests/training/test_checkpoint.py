"""Checkpoints: what goes in comes out; what is damaged or forged is refused; a kill loses nothing."""

import hashlib
import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aidgejax.errors import CheckpointError
from aidgejax.training import checkpoint, optim
from aidgejax.training.checkpoint import describe, load, save


class State(NamedTuple):
    params: dict
    opt: object
    key: object
    step: object
    accumulator: object = None


@chex.dataclass
class Ranges:
    low: object
    high: object


def training_state():
    params = {"conv/w": jnp.arange(24, dtype="float32").reshape(2, 3, 2, 2), "b": jnp.ones(3, "bfloat16")}
    return State(params, optim.adam().init(params), jax.random.key(7), jnp.int32(3))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(x) == jax.random.key_impl(y)
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert type(x) is type(y) or hasattr(x, "dtype")
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


# ---- what goes in comes out ---------------------------------------------------------------------------


def test_a_training_state(tmp_path):
    state, path = training_state(), tmp_path / "run.aidge"
    save(path, state, {"epoch": 3, "best": 0.5, "seen": [1, 2]})
    back = load(path, like=state)
    same(back, state)
    assert isinstance(back.params["b"], jax.Array) and isinstance(back.opt["b"].state, optim.Moments)
    np.testing.assert_array_equal(jax.random.uniform(back.key), jax.random.uniform(state.key))
    assert describe(path)["meta"] == {"epoch": 3, "best": 0.5, "seen": [1, 2]}
    assert str(describe(path)["leaves"]["params['b']"]) == "bfloat16[3]"
    same(load(path, like=jax.eval_shape(lambda: state)), state)
    again = tmp_path / "again.aidge"
    save(again, state, {"epoch": 3, "best": 0.5, "seen": [1, 2]})
    assert again.read_bytes() == path.read_bytes()


def test_without_like_containers_are_plain(tmp_path):
    tree = {
        "a": [np.arange(3), (None, {}, [])],
        "r": Ranges(low=np.zeros(2), high=np.ones(2)),
        "n": {5: 7},
        "f": 0.1,
        "t": True,
        "state": optim.sgd(0.9).init(np.ones(2, np.float32)),
    }
    save(tmp_path / "c", tree)
    back = load(tmp_path / "c")
    assert back["a"][1] == (None, {}, []) and back["n"] == {5: 7} and back["f"] == 0.1 and back["t"] is True
    assert set(back["r"]) == {"low", "high"} and set(back["state"]) == {"velocity", "seen"}
    back["a"][0] += 1  # NumPy arrays are the caller's own
    same(load(tmp_path / "c", like=tree), tree)


@pytest.mark.parametrize("dtype", sorted(checkpoint.DTYPES))
def test_every_dtype(tmp_path, dtype):
    d = checkpoint.DTYPES[dtype]
    values = np.array([0, 1, 1, 0, 1, 0]).astype(d)
    tree = {"x": values.reshape(2, 3), "scalar": values[1].reshape(()), "empty": np.zeros((0, 3), d)}
    save(tmp_path / "c", tree)
    same(load(tmp_path / "c"), tree)
    same(load(tmp_path / "c", like=tree), tree)


@pytest.mark.parametrize("dtype", ["int4", "float8_e4m3fn", "bfloat16", "bool"])
def test_small_dtypes_on_the_device(tmp_path, dtype):
    tree = {"x": jnp.ones((3, 2), dtype)}
    save(tmp_path / "c", tree)
    back = load(tmp_path / "c", like=tree)
    assert isinstance(back["x"], jax.Array)
    same(back, tree)


def test_sixty_four_bits_stay_although_jax_has_them_off(tmp_path):
    with jax.enable_x64(True):
        tree = {"x": jnp.float64(1) / 3, "n": jnp.int64(2**40)}
    save(tmp_path / "c", tree)
    same(load(tmp_path / "c", like=tree), tree)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys(tmp_path, impl):
    tree = {"one": jax.random.key(1, impl=impl), "many": jax.random.split(jax.random.key(2, impl=impl), 3)}
    save(tmp_path / "c", tree)
    same(load(tmp_path / "c"), tree)
    same(load(tmp_path / "c", like=tree), tree)
    other = jax.random.key(0, impl="rbg" if impl != "rbg" else "unsafe_rbg")
    with pytest.raises(CheckpointError, match=r"\(a PRNG key, .*\), expected .* \(a PRNG key, .*\)"):
        load(tmp_path / "c", like={"one": other, "many": jax.random.split(other, 3)})


def test_memory_layouts(tmp_path):
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tree = {
        "view": a[:, ::2].T,
        "fortran": np.asfortranarray(a),
        "big": a.astype(">f4"),
        "read": np.broadcast_to(a[0, 0], (5, 4)),
    }
    save(tmp_path / "c", tree)
    for k, x in load(tmp_path / "c").items():
        np.testing.assert_array_equal(x, tree[k])


NAMES = st.text(max_size=8)
ARRAYS = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(checkpoint.DTYPES[dtype]),
    st.sampled_from(sorted(checkpoint.DTYPES)),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)
TREES = st.recursive(
    ARRAYS | st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_any_tree(tmp_path, tree):
    save(tmp_path / "c", tree)
    same(load(tmp_path / "c"), tree)
    same(load(tmp_path / "c", like=tree), tree)


# ---- what does not fit --------------------------------------------------------------------------------


def test_like_is_compared_before_anything_is_returned(tmp_path):
    path = tmp_path / "c"
    save(path, {"w": np.zeros((2, 3), np.float32), "old": np.zeros(1)})
    with pytest.raises(CheckpointError) as e:
        load(path, like={"w": np.zeros((2, 4), np.float16), "new": np.zeros(1)})
    assert str(e.value) == (
        f"checkpoint {str(path)!r} does not fit: it lacks ['new'] (float64[1]); it has ['old'] "
        f"(float64[1]), which was not expected; ['w'] is float32[2, 3], expected float16[2, 4]. "
        f"Nothing was loaded"
    )


@pytest.mark.parametrize(
    "tree, meta, message",
    [
        (
            {"x": "text"},
            None,
            "cannot save ['x']: expected an array, a PRNG key or a number, got str; "
            "text and other settings belong into meta",
        ),
        (
            {"x": np.array([object()])},
            None,
            "cannot save ['x']: expected an array, a PRNG key or a number, got ndarray of "
            "dtype object; text and other settings belong into meta",
        ),
        ({"x": 2**63}, None, "cannot save ['x']: 9223372036854775808 does not fit 64 bits"),
        (
            {1: 1, "1": 2},
            None,
            "jax cannot walk this tree: Comparator raised exception while sorting pytree "
            "dictionary keys. The keys of a dict must be of one type",
        ),
        ({(1, 2): 1}, None, "cannot save a tree with the key (1, 2): expected text or a whole number"),
        (
            {},
            {"x": np.ones(2)},
            "cannot save '{path}': meta must be what JSON can hold (got a ndarray); arrays belong into the tree",
        ),
        ({}, [1], "cannot save '{path}': meta is a list, expected a dict"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tree, meta, message):
    path = tmp_path / "c"
    with pytest.raises(CheckpointError) as e:
        save(path, tree, meta)
    assert str(e.value) == message.replace("{path}", str(path))
    assert os.listdir(tmp_path) == []


def test_a_donated_array_is_named(tmp_path):
    x = jnp.ones(3)
    x.delete()
    with pytest.raises(CheckpointError, match=r"cannot save \['x'\]: .*deleted"):
        save(tmp_path / "c", {"x": x})


def test_places_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="cannot open checkpoint .*: No such file"):
        load(tmp_path / "c")
    with pytest.raises(CheckpointError, match="cannot open checkpoint .*: Is a directory|damaged"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="cannot save .*No such file"):
        save(tmp_path / "no" / "c", {})


def test_another_environment_is_named(tmp_path, monkeypatch):
    save(tmp_path / "c", {"x": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path / "c")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    monkeypatch.setattr(jax, "__version__", "9.9")
    with pytest.warns(UserWarning, match="was written elsewhere: jax is '9.9', was '.*'; XLA_FLAGS is '--xla.*', was"):
        load(tmp_path / "c", like={"x": 1})
    describe(tmp_path / "c")


# ---- damage -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    rng = np.random.default_rng(0)
    tree = {
        "w": rng.normal(size=(40, 50)).astype(np.float32),
        "b": rng.normal(size=9).astype(ml_dtypes.bfloat16),
        "n": np.arange(5),
        "flag": True,
    }
    path = tmp_path_factory.mktemp("intact") / "c"
    save(path, tree, {"epoch": 1})
    return path.read_bytes(), tree


def outcome(path, data, tree, meta):
    """ "refused", or "harmless" if everything is as it was; anything else fails the test."""
    path.write_bytes(data)
    found = set()
    for like in (None, tree):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                back = load(path, like)
                assert describe(path)["meta"] == meta
        except CheckpointError:
            found.add("refused")
        else:
            same(back, tree)
            found.add("harmless")
    assert len(found) == 1
    return found.pop()


def flip(rng, data, within=None):
    k = rng.choice(within) if within else rng.randrange(len(data))
    return data[:k] + bytes([data[k] ^ (1 << rng.randrange(8))]) + data[k + 1 :]


@pytest.mark.parametrize("kind", ["flip", "flip the ends", "truncate", "zero a page", "cut out", "garbage behind"])
def test_damage_is_never_silent(tmp_path, intact, kind):
    data, tree = intact
    rng = random.Random(kind)
    ends = [*range(300), *range(len(data) - 700, len(data))]
    counts = {"refused": 0, "harmless": 0}
    for _ in range(150):
        k = rng.randrange(len(data))
        damaged = {
            "flip": lambda: flip(rng, data),
            "flip the ends": lambda: flip(rng, data, ends),
            "truncate": lambda: data[:k],  # noqa: B023
            "zero a page": lambda: data[:k] + bytes(len(data[k : k + 512])) + data[k + 512 :],  # noqa: B023
            "cut out": lambda: data[:k] + data[k + rng.randrange(1, 99) :],  # noqa: B023
            "garbage behind": lambda: data + rng.randbytes(rng.randrange(1, 99)),
        }[kind]()
        counts[outcome(tmp_path / "c", damaged, tree, {"epoch": 1})] += 1
    if kind in ("flip", "truncate", "zero a page"):
        assert counts["refused"] > 130, counts


# ---- attacks ------------------------------------------------------------------------------------------


def forge(path, intact, change=lambda manifest: None, members=None, compression=zipfile.ZIP_STORED):
    """The intact checkpoint again, with another manifest whose checksum is right, and with other members."""
    with zipfile.ZipFile(io.BytesIO(intact[0])) as archive:
        content = {n: archive.read(n) for n in archive.namelist()}
    manifest = json.loads(content["manifest.json"])
    changed = change(manifest)
    manifest = manifest if changed is None else changed
    content["manifest.json"] = json.dumps(manifest).encode()
    content["manifest.sha256"] = hashlib.sha256(content["manifest.json"]).hexdigest().encode()
    content.update(members or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def leaf(**changes):
    return lambda manifest: manifest["leaves"][-1].update(changes)


@pytest.mark.parametrize(
    "change, message",
    [
        (leaf(shape=[2**40]), "its content has"),
        (leaf(shape=[-1, -2000]), "expected sizes of 0 or more"),
        (leaf(shape=[2000.0]), "expected sizes of 0 or more"),
        (leaf(shape=[True]), "expected sizes of 0 or more"),
        (leaf(shape="many"), "expected sizes of 0 or more"),
        (leaf(nbytes=2**40, shape=[2**38]), "its content has"),
        (leaf(dtype="object"), "which is unknown"),
        (leaf(dtype=["float32"]), "damaged"),
        (leaf(kind="pickle"), "which is unknown"),
        (leaf(kind="key", impl="nonsense"), "damaged"),
        (leaf(kind="key"), "has PRNG None"),
        (leaf(name="other"), "the content of 'other' is missing"),
        (leaf(file="../../etc/passwd"), "the content of .* is missing"),
        (leaf(sha256="0" * 64), "does not have the checksum"),
        (leaf(sha256=5), "does not have the checksum"),
        (lambda m: m.update(version=2), "has version 2; this aidgejax reads version 1"),
        (lambda m: m.update(format="torch"), "not an aidgejax checkpoint"),
        (lambda m: m.update(meta=5), "lacks leaves, meta or environment"),
        (lambda m: m.update(leaves={}), "lacks leaves, meta or environment"),
        (lambda m: m["leaves"].append(dict(m["leaves"][0])), "two of its arrays have the same name"),
        (lambda m: m.update(leaves=m["leaves"][:-1]), "its structure does not name each array once"),
        (lambda m: m.update(structure=None), "its structure does not name each array once"),
        (lambda m: m.update(structure=["dict", [["a", 0], ["a", 1], ["b", 2], ["c", 3]]]), "damaged"),
        (lambda m: m.update(structure=["os.system", [["a", 0]]]), "damaged"),
        (lambda m: m.update(structure="abc"), "damaged"),
        (lambda m: ["a list"], "not an aidgejax checkpoint"),
        (lambda m: m["leaves"].append(5), "damaged"),
    ],
)
def test_a_forged_manifest_is_refused(tmp_path, intact, change, message):
    forge(tmp_path / "c", intact, change)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "c")


def test_forging_itself_works(tmp_path, intact):
    forge(tmp_path / "c", intact)
    same(load(tmp_path / "c"), intact[1])


@pytest.mark.parametrize(
    "members, message",
    [
        ({"../evil": b"x"}, "member '../evil', which does not belong"),
        ({"/etc/evil": b"x"}, "member '/etc/evil', which does not belong"),
        ({"tensors/" + "0" * 64: b"x"}, "members are not those that the manifest lists"),
        ({"data.pkl": pickle.dumps(5)}, "does not belong"),
        ({"manifest.json": b"{}"}, "manifest.json does not have the checksum"),
        ({"manifest.json": None}, "it has no manifest.json, so it is not"),
    ],
)
def test_strange_members_are_refused(tmp_path, intact, members, message):
    forge(tmp_path / "c", intact, members=members)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "c")


def test_deep_json_is_refused(tmp_path, intact):
    text = b"[" * 200_000
    forge(
        tmp_path / "c",
        intact,
        members={"manifest.json": text, "manifest.sha256": hashlib.sha256(text).hexdigest().encode()},
    )
    with pytest.raises(CheckpointError, match="damaged|lists far more"):
        load(tmp_path / "c")


def test_bombs_are_refused_before_they_unfold(tmp_path, intact):
    name = next(
        e["file"]
        for e in json.loads(zipfile.ZipFile(io.BytesIO(intact[0])).read("manifest.json"))["leaves"]
        if e["name"] == "['w']"
    )
    forge(tmp_path / "c", intact, members={name: bytes(1 << 24)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed, which checkpoints are not"):
        load(tmp_path / "c")
    data = bytearray(intact[0])  # the directory claims 3 GiB for every member
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 20 : at + 28] = struct.pack("<II", 3 << 30, 3 << 30)
        at = data.find(b"PK\x01\x02", at + 4)
    (tmp_path / "c").write_bytes(data)
    with pytest.raises(CheckpointError, match="claim more bytes than the file has"):
        load(tmp_path / "c")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_pickles_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle").write_bytes(pickle.dumps(Evil()))
    np.savez(tmp_path / "numpy.npz", x=np.array([Evil()], object))
    for name in ("pickle", "numpy.npz"):
        with pytest.raises(CheckpointError):
            load(name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"{}", bytes(1000)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(CheckpointError):
        load(tmp_path / "c")


# ---- atomic -------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "c"
    save(path, {"x": 1})
    with monkeypatch.context() as m:
        m.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(CheckpointError, match="cannot save .*disk full"):
            save(path, {"x": 2})
    assert load(path) == {"x": 1} and os.listdir(tmp_path) == ["c"]


def test_leftovers_are_removed_but_not_those_of_a_writer_at_work(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "c[1]*"
    dead, alive, foreign = (tmp_path / n for n in (".c[1]*.tmp-1", ".c[1]*.tmp-2", ".c1.tmp-3"))
    for p in (dead, alive, foreign):
        p.touch()
    with open(alive, "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        save(path, {"x": 1})
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, alive.name, foreign.name])


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "c")
    save(tmp_path / "link", {"x": 1})
    assert (tmp_path / "link").is_symlink() and load(tmp_path / "folder" / "c") == {"x": 1}


def test_the_file_has_ordinary_permissions(tmp_path):
    save(tmp_path / "c", {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "c").stat().st_mode == (tmp_path / "plain").stat().st_mode


SAVER = """
import itertools, sys, numpy as np
from aidgejax.training.checkpoint import save
print("ready", flush=True)
for n in itertools.count():
    save(sys.argv[1], {"x": np.full(200_000, n, np.float32), "n": np.int64(n)})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_while_saving(tmp_path):
    rng, path = random.Random(0), tmp_path / "c"
    for _ in range(3):
        saver = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        assert saver.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.02, 0.3))
        saver.kill()
        saver.communicate()
        back = load(path)
        assert np.all(back["x"] == back["n"])
    save(path, {"x": 1})
    assert os.listdir(tmp_path) == ["c"]


def test_messages_name_the_file(tmp_path):
    (tmp_path / "c").write_bytes(b"nothing")
    with pytest.raises(CheckpointError) as e:
        load(tmp_path / "c")
    assert str(e.value) == (
        f"checkpoint {str(tmp_path / 'c')!r} is damaged, or not a checkpoint: BadZipFile: File is not a zip file"
    )

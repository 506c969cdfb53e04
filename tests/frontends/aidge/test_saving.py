"""Saved models: the same function again, nothing of a program in the file, and what is damaged is refused."""

import io
import json
import zipfile

import numpy as np
import pytest

from aidgejax.errors import ModelFileError
from aidgejax.frontends import aidge_core as ac


def model():
    block = ac.meta_operator("Block", ac.sequential([ac.Tanh(name="t"), ac.Softmax(1, name="s")]), name="block")
    generic = ac.GenericOperator("Mine", 1, 0, 1, name="mine", alpha=0.5)
    graph = ac.sequential([ac.Conv2D(2, 3, [3, 3], name="c"), ac.Split(1, 1, name="cut"), block])
    graph.set_backend("cpu")
    rng = np.random.default_rng(0)
    for p in sorted(ac.producers(graph), key=lambda n: n.name()):
        p.get_operator().get_output(0).fill(rng.normal(size=p.get_operator().dims()).astype(np.float32))
    return graph, generic


X = np.random.default_rng(1).normal(size=(2, 2, 5, 5)).astype(np.float32)


def output(graph):
    graph.set_backend("cpu")
    return np.array(ac.SequentialScheduler(graph).forward(data=[ac.Tensor(X)])[0])


def test_file_folder_and_bytes_give_the_same_model_again(tmp_path):
    graph, _ = model()
    graph.get_node("c").annotations().add_attr("mine.note", 3)
    want = output(graph)
    ac.save_model(graph, tmp_path / "m.aidge")
    ac.save_model_folder(graph, tmp_path / "m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"tensors.safetensors", "node_info.json", "graph_info.json"}
    for again in (
        ac.load_model(tmp_path / "m.aidge"),
        ac.load_model_folder(tmp_path / "m"),
        ac.load_model_from_bytes(ac.save_model_to_bytes(graph)),
    ):
        np.testing.assert_array_equal(output(again), want)
        assert again.get_node("c").annotations().get_attr("mine.note") == 3
        assert again.get_node("c").get_operator().attr.dict() == graph.get_node("c").get_operator().attr.dict()


def test_generic_operators_and_empty_producers_are_saved_too():
    node = model()[1]
    graph = ac.sequential([ac.FC(3, 2, name="f"), node])
    again = ac.load_model_from_bytes(ac.save_model_to_bytes(graph))
    assert again.get_node("mine").get_operator().attr.alpha == 0.5
    weight = again.get_node("f_w").get_operator().get_output(0)
    assert weight.dims == [2, 3] and not weight.has_data()


def changed(member, change):
    data = io.BytesIO(ac.save_model_to_bytes(model()[0]))
    out = io.BytesIO()
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == member:
                content = change(content)
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def edited(edit):
    def change(content):
        nodes = json.loads(content)
        edit(nodes)
        return json.dumps(nodes).encode()

    return change


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: b"nothing",
        lambda: changed("node_info.json", lambda c: None),
        lambda: changed("node_info.json", lambda c: b"{"),
        lambda: changed("node_info.json", edited(lambda n: n[-2].update(type="__import__"))),
        lambda: changed("node_info.json", edited(lambda n: n[0].pop("name"))),
        lambda: changed("node_info.json", edited(lambda n: n[-1].update(sources=[[99, 0]]))),
        lambda: changed("node_info.json", edited(lambda n: n[-2].update(attributes={"a": {"enum": ["int", "x"]}}))),
        lambda: changed("graph_info.json", lambda c: c.replace(b'"outputs"', b'"other"')),
        lambda: changed("tensors.safetensors", lambda c: c[:20]),
        lambda: changed("tensors.safetensors", lambda c: b"\xff" * 8 + c[8:]),
        lambda: changed("tensors.safetensors", lambda c: c.replace(b'"shape": [3', b'"shape": [9')),
    ],
)
def test_what_is_damaged_is_refused(damaged):
    with pytest.raises(ModelFileError):
        ac.load_model_from_bytes(damaged())


def test_json_beside_data(tmp_path):
    graph, _ = model()
    ac.gview_to_json(graph, tmp_path / "net.json", write_trainable_params_ext=True, params_file_format="npz")
    page = json.loads((tmp_path / "net.json").read_text())["graph"]
    entry = next(n for n in page if n["name"] == "c_b")
    stored = np.load(tmp_path / entry["attributes"]["file"])["arr_0"]
    np.testing.assert_array_equal(stored, np.array(graph.get_node("c_b").get_operator().get_output(0)))

"""What crashes or hangs the real Aidge, and wrong input, are exceptions of one family; each says what to do."""

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_learning as al


def fc(backend="cpu"):
    graph = ac.sequential([ac.FC(3, 2, name="fc1")])
    if backend:
        graph.set_backend(backend)
    return graph


def tensor(*shape, kind=np.float32):
    return ac.Tensor(np.ones(shape, kind))


def refused(message):
    return pytest.raises(AidgeJaxError, match=message)


# ---- section 14 of the research note: SIGSEGV, SIGFPE, SIGABRT, hang ------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda t: al.loss.MSE(None, t),
        lambda t: al.loss.MSE(t, None),
        lambda t: al.loss.CELoss(None, t),
        lambda t: al.loss.BCE(t, None),
        lambda t: al.loss.KD(None, t),
        lambda t: al.loss.multiStepCELoss(None, t, 2),
        lambda t: al.loss.RobustCELoss(t, None, t),
    ],
)
def test_1_a_loss_of_none(call):
    with refused("expected a Tensor"):
        call(tensor(2, 3))


@pytest.mark.parametrize(
    "filler",
    [
        ac.he_filler,
        ac.normal_filler,
        ac.xavier_normal_filler,
        ac.xavier_uniform_filler,
        lambda t: ac.constant_filler(t, 1.0),
        lambda t: ac.uniform_filler(t, 0.0, 1.0),
    ],
)
def test_2_a_filler_of_none(filler):
    with refused("expected a Tensor, got NoneType"):
        filler(None)


def test_3_parameters_of_none():
    with refused("set_parameters: entry 0 is None; expected a Producer node"):
        al.SGD().set_parameters([None])


def test_4_backward_before_forward():
    with refused(r"backward\(\) before forward\(\)"):
        ac.SequentialScheduler(fc()).backward()


def test_5_forward_without_its_input():
    with refused("the graph has 1 input.*, data gives 0: input 0 of node 'fc1'"):
        ac.SequentialScheduler(fc()).forward()


def test_6_forward_of_an_empty_tensor():
    with refused(r"data\[0\].* is an empty Tensor"):
        ac.SequentialScheduler(fc()).forward(data=[ac.Tensor()])


def test_7_forward_of_none():
    with refused(r"data\[0\] is None: expected a Tensor"):
        ac.SequentialScheduler(fc()).forward(data=[None])


@pytest.mark.parametrize("make", [al.SGD, al.Adam])
def test_8_parameters_set_again_after_an_update(make):
    nodes = [ac.Producer(tensor(2), "p")]
    opt = make()
    for _ in range(2):
        opt.set_parameters(nodes)
        opt.update()
    assert opt.parameters() == nodes


def test_9_a_profile_of_no_steps():
    with refused("the number of steps is 0; expected 1 or more"):
        al.constant_lr(0.1).lr_profile(0)


def test_10_a_step_size_of_zero():
    with refused("step_size is 0"):
        al.step_lr(0.1, 0)


class Data(ac.Database):
    def __init__(self, fails=False):
        ac.Database.__init__(self)
        self.fails = fails

    def get_item(self, index):
        if self.fails:
            raise KeyError("no such file")
        return [tensor(3), tensor(2)]

    def len(self):
        return 5

    def get_nb_modalities(self):
        return 2


def test_11_a_batch_size_of_zero():
    with refused("batch_size is 0; expected 1 or more"):
        ac.DataProvider(Data(), 0)


def test_12_a_larger_batch_than_promised():
    scheduler = ac.SequentialScheduler(fc())
    ac.init_producer(scheduler.graph_view(), "Producer-*>FC", lambda t: ac.constant_filler(t, 0.5))
    scheduler.forward(False, data=[tensor(4, 3)])
    assert scheduler.forward(False, data=[tensor(2, 3)])[0].dims == [2, 2]  # a short last batch is fine
    scheduler.forward(False, data=[tensor(4, 3)])
    with refused(r"forward\(False\): the batch has 5 rows, the largest so far had 4"):
        scheduler.forward(False, data=[tensor(5, 3)])


def test_13_an_exception_in_get_item():
    with refused(r"get_item\(0\) of Data raised KeyError"):
        next(iter(ac.DataProvider(Data(fails=True), 2)))


def test_14_the_query_that_never_returned():
    graph = ac.sequential([ac.FC(3, 3, name="a"), ac.ReLU(name="b"), ac.FC(3, 3, name="c"), ac.ReLU(name="d")])
    found = ac.SinglePassGraphMatching(graph).match("(FC#->ReLU#)+")
    assert [m.root_node.name() for m in found] == ["a", "c"]


# ---- wrong input ----------------------------------------------------------------------------------------


def test_a_backend_that_is_not_here():
    missing = "opencl" if "cuda" in ac.Tensor.get_available_backends() else "cuda"
    with refused(f"backend '{missing}' is not available here; available backends: cpu, jax, numpy"):
        fc().set_backend(missing)
    with pytest.raises(RuntimeError):
        fc().set_backend("opencl")


def test_a_forgotten_backend():
    graph = fc(None)
    with refused(r"node 'fc1' \(FC\) has no backend: call set_backend first; available backends: cpu"):
        ac.SequentialScheduler(graph).forward(data=[tensor(2, 3)])
    with refused("Tensor got no implementation, cannot fill it. Call set_backend first"):
        ac.init_producer(graph, "Producer-1>FC", ac.he_filler)


def test_queries():
    with refused("Root node must be a Producer"):
        ac.init_producer(fc(), "FC", ac.he_filler)
    with refused("cannot be read"):
        ac.init_producer(fc(), "Producer-1>(FC", ac.he_filler)
    with refused("filler is None; expected a function"):
        ac.init_producer(fc(), "Producer-1>FC", None)
    assert ac.init_producer(fc(), "Producer-1>Gemm", ac.he_filler) == 0


def test_a_bias_has_no_fan():
    with refused("he_filler: he_normal needs a weight of 2 or more axes"):
        ac.init_producer(fc(), "Producer-2>FC", ac.he_filler)


@pytest.mark.parametrize(
    "p, t, message",
    [
        (
            tensor(4, 3),
            tensor(4, 2),
            r"'prediction' \(shape \[4, 3\]\) and 'target' \(shape \[4, 2\]\) Tensors must have the same dimensions",
        ),
        (tensor(4, 3), tensor(4, 3, kind=np.float64), "must have the same data type"),
        (tensor(4), tensor(4), "must be of 2 dimensions"),
        (tensor(2, 3, kind=np.int64), tensor(2, 3), "has dtype int64; expected a floating-point Tensor"),
        (tensor(2, 3), ac.Tensor(np.array([0, 3])), r"row 1: label 3 with 3 classes \(0 to 2\)"),
        (tensor(2, 3), ac.Tensor(np.array([0.0, 1.0], np.float32)), "class indices would have shape"),
        (tensor(2, 3), [0, 1], "a Tensor is made of a NumPy array, got list"),
    ],
)
def test_losses(p, t, message):
    with refused(message):
        al.loss.CELoss(p, t)


def test_other_losses():
    with refused("temperature is 0; expected a number above 0"):
        al.loss.KD(tensor(2, 3), tensor(2, 3), 0)
    with refused(r"expected \[2, batch, classes\]"):
        al.loss.multiStepCELoss(tensor(3, 4, 2), tensor(4, 2), 2)
    with refused("scaling is 'much'; expected a number"):
        al.loss.MSE(tensor(2, 3), tensor(2, 3), "much")


def test_data_that_does_not_fit():
    graph = fc()
    ac.init_producer(graph, "Producer-*>FC", lambda t: ac.constant_filler(t, 0.5))
    scheduler = ac.SequentialScheduler(graph)
    with refused("node 'fc1'"):
        scheduler.forward(data=[tensor(2, 4)])
    with refused("differ in dtype; convert the input with .astype.'float32'"):
        scheduler.forward(data=[tensor(2, 3, kind=np.float64)])
    with refused("expected a list with one Tensor per graph input"):
        scheduler.forward(data=tensor(2, 3))
    with refused("Producer 'fc1_w' has no data|fill it"):
        bare = fc(None)
        for n in bare.get_nodes():
            if n.type() != "Producer":
                n.get_operator().set_backend("cpu")
        ac.SequentialScheduler(bare).forward(data=[tensor(2, 3)])


def test_tensors_and_nodes():
    with refused("Unsupported python type"):
        ac.Tensor([1.0, 2.0])
    with pytest.raises(IndexError, match="element 6 of a tensor with 6 elements"):
        tensor(2, 3)[6]
    with pytest.raises(TypeError, match="indexed by a flat position"):
        tensor(2, 3)["a"]
    with pytest.raises(IndexError):
        tensor(2, 3)[-1]
    with pytest.raises(AttributeError, match='attribute "foo" not found'):
        ac.FCOp().attr.foo  # noqa: B018
    with refused("has no input 7"):
        ac.ReLU("a").add_child(ac.ReLU("b"), 0, 7)
    with refused("has no output 1"):
        ac.ReLU("a").get_operator().get_output(1)
    with refused("kernel_dims is .3.; expected 2 numbers"):
        ac.Conv2D(1, 2, [3])
    with refused("stride_dims is .0, 1."):
        ac.Conv2D(1, 2, [3, 3], stride_dims=[0, 1])
    with refused("in_channels is 0; expected 1 or more"):
        ac.FC(0, 2)
    with pytest.raises(AttributeError, match="DFT is an operator of Aidge's that aidgejax does not have"):
        ac.DFT  # noqa: B018
    with refused("has a cycle through node"):
        a, b = ac.ReLU("a"), ac.ReLU("b")
        a.add_child(b)
        b.add_child(a)
        ac.get_connected_graph_view(a)


def test_optimizers_and_metrics():
    with refused(r"SGD::update\(\): no parameter to update!"):
        al.SGD().update()
    with refused("momentum is -1"):
        al.SGD(momentum=-1)
    with refused("beta1 is 1.5"):
        al.Adam(beta1=1.5)
    with refused("axis is 2"):
        al.metrics.Accuracy(tensor(2, 3), tensor(2, 3), 2)
    with refused("label 4 with 4 classes"):
        al.metrics.ConfusionMatrix(4).aggregate([0, 4], [0, 1])

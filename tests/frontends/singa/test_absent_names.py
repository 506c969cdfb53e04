"""Names that SINGA has and this front end has not: the import says what to use instead."""

import importlib

import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import singa

ABSENT = {
    "from aidgejax.frontends.singa import snapshot": "save_states",
    "from aidgejax.frontends.singa.optimizer import SGD": "version 3",
    "from aidgejax.frontends.singa.singa_wrap import ConvHandle": "singa.layer",
    "from aidgejax.frontends.singa.singa_wrap import NcclIdHolder": "DistOpt",
    "from aidgejax.frontends.singa.utils import re_new_handle": "layers here take any",
}


@pytest.mark.parametrize("statement", ABSENT)
def test_the_import_says_what_to_use(statement):
    with pytest.raises(ImportError, match=ABSENT[statement]) as e:
        exec(statement, {})
    assert isinstance(e.value, AidgeJaxError)


def test_modules_are_still_asked_as_usual():
    assert not hasattr(singa, "snapshot") and not hasattr(singa, "nothing_of_the_kind")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("aidgejax.frontends.singa.nothing_of_the_kind")


def test_the_metaclasses_of_layers_and_models_are_there():
    from aidgejax.frontends.singa import layer, model

    assert type(layer.Linear) is layer.LayerMeta and type(model.Model) is model.ModelMeta


THERE = {
    "autograd": "Mean Less Clip Matmul Greater AddBias Reshape Elu Equal SeLU SoftMax Sum Flatten ScatterElements "
    "Concat Unsqueeze Transpose LeakyRelu Min HardSigmoid Squeeze Shape Max And Or Not Xor Gemm "
    "GlobalAveragePool ConstantOfShape Dropout ReduceSum ReduceMean Slice Split Gather Tile NonZero "
    "Cast OneHot CosSim Expand Pad UpSample DepthToSpace SpaceToDepth Where Round Rounde Embedding "
    "axis_helper back_broadcast infer_dependency gradients backward ctensor2numpy mean relu less clip "
    "identity matmul greater add_bias reshape prelu add elu equal selu softmax sum binary_cross_entropy "
    "cross_entropy ranking_loss softmax_cross_entropy mse_loss flatten scatter_elements cat conv2d "
    "batchnorm_2d pooling_2d tanh cos cosh acos acosh sin sinh asin asinh tan atan atanh sigmoid mul "
    "unsqueeze transpose add_all abs exp leakyrelu sign pow softsign sqrt softplus sub min log "
    "hardsigmoid squeeze div shape max _and _or _not _xor negative reciprocal gemm globalaveragepool "
    "constant_of_shape dropout reduce_sum reduce_mean slice ceil floor split gather tile nonzero cast "
    "onehot cossim expand pad upsample depth_to_space space_to_depth where round rounde embedding erf",
    "tensor": "copy_from_numpy from_numpy to_numpy to_host from_raw_tensor from_raw_tensors zeros ones random "
    "zeros_like ones_like product sizeof contiguous reshape transpose copy_data_to_from abs exp ceil "
    "log sigmoid sign sqrt square tanh sum pow average softmax lt le gt ge eq add sub eltwise_mult mult "
    "div einsum tensordot repeat axpy bernoulli gaussian uniform add_column add_row sum_columns "
    "sum_rows concatenate PlaceHolder CTensor relu",
    "layer": "Layer Linear Gemm Embedding Conv2d SeparableConv2d BatchNorm2d Pooling2d MaxPool2d AvgPool2d "
    "MaxPool1d AvgPool1d RNN_Base RNN LSTM ReLU Sigmoid Add Flatten SoftMaxCrossEntropy SoftMax "
    "MeanSquareError CrossEntropy BinaryCrossEntropy Dropout Cat Reshape CudnnRNN",
    "opt": "DecayScheduler Constant ExponentialDecay Optimizer SGD RMSProp AdaGrad Adam DistOpt",
    "sonnx": "to_onnx prepare run_node SONNXModel get_op save SingaBackend SingaFrontend OnnxNode OnnxAttributes "
    "onnx_type_to_singa_type SingaRep",
}


@pytest.mark.parametrize("module", THERE)
def test_every_public_name_is_there(module):
    found = importlib.import_module(f"aidgejax.frontends.singa.{module}")
    assert [name for name in THERE[module].split() if not hasattr(found, name)] == []

"""aihwkit.nn.conversion: torch models to analog ones, and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from ..exceptions import ArgumentError, ArgumentTypeError, ConfigError, ModuleError
from .modules._module import adopt_torch, check_module
from .modules.base import AnalogLayerBase
from .modules.container import AnalogSequential, AnalogWrapper
from .modules.conv import (
    AnalogConv1d,
    AnalogConv1dMapped,
    AnalogConv2d,
    AnalogConv2dMapped,
    AnalogConv3d,
    AnalogConv3dMapped,
)
from .modules.linear import AnalogLinear, AnalogLinearMapped


def _map(mapped: bool) -> dict[Any, Any]:
    try:
        from torch import nn
    except ImportError:
        raise ModuleError(
            "these conversions are of torch models, and torch is not installed (pip install torch); without it "
            "aidgejax.analog.convert_to_analog(graph, config) converts any graph or ONNX model"
        ) from None
    convolutions = (
        (AnalogConv1dMapped, AnalogConv2dMapped, AnalogConv3dMapped)
        if mapped
        else (AnalogConv1d, AnalogConv2d, AnalogConv3d)
    )
    return {
        nn.Linear: AnalogLinearMapped if mapped else AnalogLinear,
        **dict(zip((nn.Conv1d, nn.Conv2d, nn.Conv3d), convolutions, strict=True)),
        nn.Sequential: AnalogSequential,
    }


def __getattr__(name: str) -> Any:
    if name in ("_DEFAULT_CONVERSION_MAP", "_DEFAULT_MAPPED_CONVERSION_MAP", "_DEFAULT_DIGITAL_CONVERSION_SET"):
        if name == "_DEFAULT_DIGITAL_CONVERSION_SET":
            return {*_map(False).values(), *_map(True).values()}
        return _map(name == "_DEFAULT_MAPPED_CONVERSION_MAP")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def specific_rpu_config_id(module_name: str, module: Any, rpu_config: Any) -> Any:
    """The config as it is."""
    return rpu_config


def convert_to_analog(
    module: Any,
    rpu_config: Any,
    tile_module_class: Any = None,
    conversion_map: dict[Any, Any] | None = None,
    specific_rpu_config_fun: Callable[[str, Any, Any], Any] | None = None,
    module_name: str = "",
    ensure_analog_root: bool = True,
    exclude_modules: Iterable[str] | None = None,
    inplace: bool = False,
    verbose: bool = False,
) -> Any:
    """The torch model with its Linear and Conv layers (by exact class) as analog ones, Sequentials as AnalogSequential.

    conversion_map: {torch class: analog class with from_digital} instead.  specific_rpu_config_fun(name, module, copy
    of the config) -> config, once for each layer.  exclude_modules: dotted names that stay digital, with all below.
    ensure_analog_root: a root that is not converted becomes an AnalogWrapper.  inplace: the given model, not a copy.
    """
    adopt_torch()
    if conversion_map is not None and not isinstance(conversion_map, dict):
        raise ArgumentError(f"conversion_map is a {type(conversion_map).__name__}: expected a dict of classes")
    kinds = _map(False) if conversion_map is None else conversion_map
    if exclude_modules is not None and not isinstance(exclude_modules, Iterable):
        raise ArgumentTypeError(f"exclude_modules is {exclude_modules!r}: expected dotted names of modules")
    excluded = {exclude_modules} if isinstance(exclude_modules, str) else set(exclude_modules or ())
    check_module("convert_to_analog", module)
    module = module if inplace else copy.deepcopy(module)

    def converted(found: Any, name: str) -> Any:
        if name and name in excluded:
            return found
        kind = kinds.get(type(found))
        if kind is not None and name not in excluded:
            if verbose:
                print(f"{name or 'root'}: {type(found).__name__} -> {kind.__name__}")
            config = copy.deepcopy(rpu_config)
            if specific_rpu_config_fun is not None and not getattr(kind, "IS_CONTAINER", False):
                config = specific_rpu_config_fun(name, found, config)
            if config is None and issubclass(kind, AnalogLayerBase) and not kind.IS_CONTAINER:
                raise ConfigError(
                    f"convert_to_analog got no rpu_config for {name or 'the root'}: expected e.g. InferenceRPUConfig()"
                )
            mode = found.training
            found = kind.from_digital(found, config, tile_module_class).train(mode)
        if not isinstance(found, AnalogLayerBase) or found.IS_CONTAINER:
            for own, child in list(found.named_children()):
                new = converted(child, f"{name}.{own}" if name else own)
                if new is not child:
                    found.add_module(own, new)
        return found

    module = converted(module, module_name)
    if ensure_analog_root and not module_name and not isinstance(module, AnalogLayerBase):
        module = AnalogWrapper.from_digital(module)
    return module


def convert_to_digital(
    module: Any, conversion_set: set[Any] | None = None, module_name: str = "", inplace: bool = False
) -> Any:
    """The analog model with its layers as torch's again, scales folded into the weights."""
    adopt_torch()
    if conversion_set is not None and not isinstance(conversion_set, set):
        raise ArgumentError(f"conversion_set is a {type(conversion_set).__name__}: expected a set of classes")
    kinds = {*_map(False).values(), *_map(True).values()} if conversion_set is None else conversion_set
    check_module("convert_to_digital", module)
    module = module if inplace else copy.deepcopy(module)

    def converted(found: Any) -> Any:
        if type(found) in kinds:
            found = type(found).to_digital(found)
        for own, child in list(found.named_children()):
            new = converted(child)
            if new is not child:
                found.add_module(own, new)
        return found

    return AnalogWrapper.to_digital(converted(module))

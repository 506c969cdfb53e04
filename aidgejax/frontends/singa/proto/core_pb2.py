"""singa.proto.core_pb2: kFloat32, kInt and so on."""

from .._ctensor import kChar, kDouble, kFloat16, kFloat32, kInt, kUChar

__all__ = ["kChar", "kDouble", "kFloat16", "kFloat32", "kInt", "kUChar"]

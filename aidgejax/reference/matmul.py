"""Matrix products: MatMul, Gemm. NumPy."""

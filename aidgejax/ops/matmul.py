"""Matrix products: MatMul, Gemm."""

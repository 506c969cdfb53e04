"""singa.proto: the numbers of SINGA's dtypes, where older programs look for them."""

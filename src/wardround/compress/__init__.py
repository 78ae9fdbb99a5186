"""Codecs: sparsify, quantise, entropy coding; which of them are linear."""

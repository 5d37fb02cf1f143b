"""Ranvier: a compiler for neural networks."""

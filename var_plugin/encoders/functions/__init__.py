"""Embedding functions: adapters of a suite for vector stores and frameworks, one module per host library.

All of them call `Suite.encode` for one space of the suite. Their vectors are therefore comparable with each other and
with the vectors of an index built with the same suite.
"""

"""Embedding functions: a suite in the shapes that vector stores and frameworks expect, one module per host.

All of them call `Suite.encode` for one space of the suite, so everything they return can be compared with everything
else they return, and with what an index of the same suite holds.
"""

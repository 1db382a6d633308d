"""Tolerances between two correct computations of the same numbers, per dtype.

Results depend on the vector instructions of the processor, the number of threads, the batch size and memory alignment.
A test that compares computed numbers uses one of these values; bit equality is for data that were only stored or moved.
The values bound absolute differences of components of L2-normalised vectors and of other numbers of magnitude one.
"""

from __future__ import annotations

from typing import Final

ATOL: Final = {
    "float32": 2e-5,  # 170 units of rounding (2^-23) after some layers of matrix products
    "float16": 8e-3,  # 8 units of 2^-10; 2.5e-4 was measured between two processors
    "bfloat16": 6e-2,  # 8 units of 2^-7
}
FLOAT32: Final = ATOL["float32"]

from __future__ import annotations

import numpy as np

from tests.colors import color_suite
from var_plugin.encoders.functions.milvus import MilvusEmbeddingFunction


def test_queries_and_documents_are_lists_of_arrays_of_the_declared_dimension() -> None:
    function = MilvusEmbeddingFunction(color_suite())
    for method in (function, function.encode_queries, function.encode_documents):
        vectors = method(["red", "blue"])
        assert isinstance(vectors, list)
        assert [vector.dtype for vector in vectors] == [np.float32, np.float32]
        assert [vector.tolist() for vector in vectors] == [[1, 0, 0], [0, 0, 1]]
    assert function.dim == 3

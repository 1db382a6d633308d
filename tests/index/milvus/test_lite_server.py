from __future__ import annotations

import pyarrow as pa
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
from milvus_lite.storage.memtable import MemTable

from var_plugin.index.milvus.lite_server import patch_flush


def test_flushed_rows_keep_their_values_and_order() -> None:
    """Replaced rows are omitted. Rows are in the order in which their keys were first written."""
    fields = [
        FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=64),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=2),
    ]
    patch_flush()
    assert "_build_data_table" in MemTable.flush.__code__.co_names, "this version brings rows to disk by other means"
    table = MemTable(CollectionSchema(fields))
    written = [{"a": [0.5, 1.5], "b": [2.5, 3.5]}, {"b": [4.5, 5.5], "c": [6.5, 7.5]}]
    sequence = iter(range(9))
    for rows in written:
        columns = {
            "_seq": pa.array([next(sequence) for _ in rows], pa.uint64()),
            "_partition": pa.array(["_default"] * len(rows)),
            "id": pa.array(list(rows)),
            "vector": pa.array(list(rows.values()), pa.list_(pa.float32(), 2)),
        }
        schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
        table.apply_insert(pa.RecordBatch.from_pydict(columns, schema=schema))
    remaining, deleted = table.flush()["_default"]
    assert deleted is None
    assert remaining.to_pylist() == [
        {"_seq": 0, "id": "a", "vector": [0.5, 1.5]},
        {"_seq": 2, "id": "b", "vector": [4.5, 5.5]},
        {"_seq": 3, "id": "c", "vector": [6.5, 7.5]},
    ]

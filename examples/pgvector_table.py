"""Find clips by text with PostgreSQL and pgvector: python pgvector_table.py SUITE QUERY DSN CLIP..."""

import sys

import psycopg
from pgvector.psycopg import register_vector

import var_plugin as vp

if len(sys.argv) < 5:
    sys.exit("usage: python pgvector_table.py SUITE QUERY DSN CLIP...")
name, query, dsn, *clips = sys.argv[1:]
suite = vp.load_suite(name)
dim = suite.spaces["scene"].dim
with psycopg.connect(dsn) as connection:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    connection.execute(f"CREATE TABLE IF NOT EXISTS clips (clip text PRIMARY KEY, vector vector({dim:d}))")
    for clip, vector in zip(clips, suite.encode("video", clips, space="scene"), strict=True):
        connection.execute("INSERT INTO clips VALUES (%s, %s) ON CONFLICT DO NOTHING", (clip, vector))
    query_vector = suite.encode("text", [query], space="scene")[0]
    # <#> is the negative inner product.
    best = connection.execute(
        "SELECT clip, -(vector <#> %s) FROM clips ORDER BY vector <#> %s LIMIT 1", (query_vector, query_vector)
    ).fetchone()
print(f"{best[0]}: {best[1]:.3f}")

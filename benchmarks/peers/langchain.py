"""LangChain's ``PGVectorStore``: ``add_embeddings`` with the vectors at hand, then searches by vector in process.

Plan: {url, parquet (files), rows, queries, k, efs, kth, rounds, recall, enough}; without queries it only adds.

Settings, as docs.langchain.com/oss/python/integrations/vectorstores/pgvectorstore shows them: an asyncpg engine by
``PGEngine.from_connection_string``, ``init_vectorstore_table`` with typed metadata columns, cosine distance; for the
searches ``apply_vector_index(HNSWIndex())`` once the rows are there (m 16, ef_construction 64, the defaults) and
``HNSWQueryOptions(ef_search)``.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex, HNSWQueryOptions

from benchmarks.figures import Times

_TABLE = "langchain"
_METADATA = ["name", "section", "size"]


class _Given(Embeddings):
    """The store wants an embedder; every vector of the bench is there already."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise RuntimeError(f"nobody asked to embed {len(texts)} texts")

    def embed_query(self, text: str) -> list[float]:
        raise RuntimeError(f"nobody asked to embed {text!r}")


def main() -> None:
    plan = json.load(sys.stdin)
    table = pq.read_table(plan["parquet"]).slice(0, plan["rows"])
    texts, metadatas = table.column("summary").to_pylist(), table.select(_METADATA).to_pylist()
    vectors = np.stack(table.column("_embedding").to_numpy())
    embeddings = vectors.tolist()
    engine = PGEngine.from_connection_string(plan["url"].replace("postgresql://", "postgresql+asyncpg://"))
    engine.init_vectorstore_table(
        _TABLE,
        vector_size=vectors.shape[1],
        metadata_columns=[Column("name", "TEXT"), Column("section", "TEXT"), Column("size", "BIGINT")],
        overwrite_existing=True,
    )
    store = _store(engine, None)
    began = time.perf_counter()
    store.add_embeddings(texts, embeddings, metadatas)
    seconds = time.perf_counter() - began
    found: dict[str, Any] = {
        "version": version("langchain-postgres"),
        "seconds": round(seconds, 3),
        "rows_per_second": round(plan["rows"] / seconds, 1),
    }
    if plan.get("queries"):
        began = time.perf_counter()
        store.apply_vector_index(HNSWIndex())
        found["index_seconds"] = round(time.perf_counter() - began, 3)
        found["search"] = _search(engine, plan)
    engine.drop_table(_TABLE)
    print(json.dumps(found))


def _store(engine: PGEngine, options: HNSWQueryOptions | None) -> PGVectorStore:
    return PGVectorStore.create_sync(engine, _Given(), _TABLE, metadata_columns=_METADATA, index_query_options=options)


def _search(engine: PGEngine, plan: dict[str, Any]) -> dict[str, Any]:
    queries = np.load(plan["queries"]).tolist()
    k, best, tried = plan["k"], dict[str, Any](), []
    for ef in plan["efs"]:
        store = _store(engine, HNSWQueryOptions(ef_search=ef))
        times, hits = [], 0
        for turn in range(plan["rounds"] + 1):
            for query, kth in zip(queries, plan["kth"], strict=True):
                began = time.perf_counter()
                near = store.similarity_search_with_score_by_vector(query, k=k)
                if turn:
                    times.append((time.perf_counter() - began) * 1000)
                else:
                    hits += sum(distance <= kth + 1e-5 for _, distance in near)
        best = {"ef": ef, "recall": round(hits / (k * len(queries)), 5), **Times.of(times).values()}
        tried.append(best)
        if best["recall"] >= plan["enough"]:
            break
    # The narrowest that reaches the recall; the others are for the plot.
    return {**next((one for one in tried if one["recall"] >= plan["recall"]), best), "tried": tried}


if __name__ == "__main__":
    main()

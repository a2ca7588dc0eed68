"""The nearest of many vectors by cosine: all of them compared, or a graph of them (HNSW) by
usearch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors

Vectors = NDArray[np.float32]

EXACT_MOST = 100_000
"""So many texts are compared with each query; of more there is a graph, if usearch is installed."""

# Rows that are read at once: 25 MB of width 384.
_BLOCK = 16_384
_GRAPH = "vectors.usearch"


def nearest(
    queries: Vectors, vectors: Vectors, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compare queries with all vectors.

    queries, vectors (NDArray): Of length 1. *Shape:* `(n_queries, width)`, `(n_vectors, width)`.
    RETURNS (tuple): The rows of the nearest, the nearest first, of equal ones the first; and their
        cosines. *Shape:* `(n_queries, min(n, n_vectors))` each.
    """
    rows = np.zeros((len(queries), 0), dtype=np.int64)
    cosines = np.zeros((len(queries), 0), dtype=np.float32)
    for begin in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[begin : begin + _BLOCK])
        cosines = np.concatenate((cosines, queries @ block.T), axis=1)
        own = np.arange(begin, begin + len(block))
        rows = np.concatenate((rows, np.broadcast_to(own, (len(queries), len(own)))), axis=1)
        # Rows rise among equal cosines, and a stable sort keeps that.
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
        rows = np.take_along_axis(rows, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return rows, cosines


def write_graph(vectors: Vectors, folder: Path) -> bool:
    """Write a graph of more vectors than are compared one by one.

    RETURNS (bool): Whether there is one: False for few vectors.
    RAISES: ImportError J469 if usearch is missing.
    """
    if len(vectors) <= EXACT_MOST:
        return False
    graph = _usearch().Index(ndim=vectors.shape[1], metric="cos", dtype="f16")
    for begin in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[begin : begin + _BLOCK])
        graph.add(np.arange(begin, begin + len(block)), block)
    graph.save(str(folder / _GRAPH))
    return True


class Graph:
    """A graph of vectors, mapped from disk (Malkov & Yashunin 2016, arXiv:1603.09320).

    folder (Path): Of the index.
    vectors (NDArray): What it is of.
    """

    def __init__(self, folder: Path, vectors: Vectors) -> None:
        self.vectors = vectors
        self._graph: Any = _usearch().Index.restore(str(folder / _GRAPH), view=True)

    def nearest(self, queries: Vectors, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `nearest`, but some may be missed. Cosines are exact."""
        found_rows, found = [], []
        for query in queries:
            # It has them in 16 bits: more than are wanted, so that these can put them in order.
            rows = np.sort(self._graph.search(query, 2 * n + 10).keys.astype(np.int64))
            best, cosines = nearest(query[None], self.vectors[rows], n)
            found_rows.append(rows[best[0]])
            found.append(cosines[0])
        return np.stack(found_rows), np.stack(found)


def has_graph(folder: Path) -> bool:
    """RETURNS (bool): Whether an index has one."""
    return (folder / _GRAPH).is_file()


def _usearch() -> Any:
    """RAISES: ImportError J469."""
    try:
        import usearch.index
    except ImportError as error:
        raise ImportError(Errors.J469.format(package="usearch", extra="search")) from error
    return usearch.index

#!/usr/bin/env python3
"""Fewer bits inside a graph, by those who published it: SymphonyQG (1 bit, neighbours' codes beside the node) and HNSW
over RaBitQ codes of 1, 4 and 8 bits, beside nearness, through ../../../shared/tools/ann_peers.py.

Needs the authors' library (github.com/VectorDB-NTU/RaBitQ-Library, `pip install .` in its folder), and what ann_peers needs.
Takes the arguments of ann_peers; --engines may name symphonyqg, hnsw-rabitq1, hnsw-rabitq4, hnsw-rabitq8.
Under cosine it is given unit vectors and the inner product.
"""
import os
import sys

import numpy as np

SHARED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "tools")
sys.path.insert(0, SHARED)
import ann_peers  # noqa: E402


def prepared(metric, x):
    return np.ascontiguousarray(x if metric == "l2" else ann_peers.unit(x), dtype=np.float32)


def symphonyqg(base, metric, m, efc, threads):
    from rabitqlib import SymqgIndex

    index = SymqgIndex(base.shape[1], 2 * m, "l2" if metric == "l2" else "ip")
    index.build(prepared(metric, base), efc, threads)
    return lambda q, k, ef: index.search(prepared(metric, q), k, max(ef, k), 1)[0]


def hnsw_rabitq(bits):
    def build(base, metric, m, efc, threads):
        import faiss
        from rabitqlib import HnswIndex

        x = prepared(metric, base)
        kmeans = faiss.Kmeans(x.shape[1], 16, niter=10, seed=1)
        kmeans.train(x)
        nearest = kmeans.index.search(x, 1)[1].reshape(-1).astype(np.uint32)
        index = HnswIndex(dim=x.shape[1], max_elements=len(x), M=m, ef_construction=efc, nbits=bits,
                          metric="l2" if metric == "l2" else "ip")
        index.build(x, kmeans.centroids, nearest, num_threads=threads, fast_quantization=True)
        return lambda q, k, ef: index.search(prepared(metric, q), k, max(ef, k), 1)[0]

    return build


ann_peers.ENGINES["symphonyqg"] = symphonyqg
for bits in (1, 4, 8):
    ann_peers.ENGINES[f"hnsw-rabitq{bits}"] = hnsw_rabitq(bits)

if __name__ == "__main__":
    ann_peers.main()

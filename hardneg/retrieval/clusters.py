"""K-means clusters of query vectors, with FAISS."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import atomic_path

CLUSTERS = "clusters.parquet"
ROUNDS = 20


def cluster(queries: Path, clusters: int, seed: int, target: Path) -> dict[str, int]:
    """Write `clusters.parquet`: the cluster (`topic`, int32) of each query, in the order of the split.

    Args:
        queries: query vectors, `.npy` [queries, dim].
        clusters: number of clusters.
        seed: seed of the initial centroids.
        target: the file to write.

    Returns:
        Facts: the number of clusters, how many are not empty, and the sizes of the smallest and largest of these.

    Raises:
        HardnegError: there are fewer queries than clusters.
    """
    vectors = np.ascontiguousarray(np.load(queries), np.float32)
    if len(vectors) < clusters:
        raise HardnegError(
            "There are fewer training queries than clusters.",
            where="order.clusters",
            found=f"{clusters:,} clusters for {len(vectors):,} queries",
            expected=f"at most {len(vectors):,}",
            remedy="lower order.clusters.",
        )
    kmeans = faiss.Kmeans(
        vectors.shape[1], clusters, niter=ROUNDS, seed=seed, min_points_per_centroid=1, max_points_per_centroid=256
    )
    kmeans.train(vectors)
    topics = kmeans.index.search(vectors, 1)[1][:, 0].astype(np.int32)
    with atomic_path(target) as temporary:
        pq.write_table(pa.table({"topic": topics}), temporary, compression="zstd")
    sizes = np.unique(topics, return_counts=True)[1]
    return {"clusters": clusters, "filled": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}

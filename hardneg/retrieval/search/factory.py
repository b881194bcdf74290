"""FAISS factory strings, checked before any long job starts. Imports FAISS and nothing else that is slow to import.

A factory string describes nested indexes: behind transforms, inside a graph, for refinement, or as a coarse quantiser.
The checks build the empty index and inspect these parts; they do not parse the string.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss

from hardneg.errors import HardnegError

# FAISS warns if there are fewer training vectors than this for each centroid.
POINTS_PER_CENTROID = 39
OPQ_CENTROIDS = 256  # FAISS trains the rotation with an 8-bit quantiser, whatever quantiser follows
INNER = ("index", "base_index", "refine_index", "storage", "quantizer")
# Kinds to which vectors cannot be added, or not block by block.
NOT_FILLED_IN_BLOCKS = (faiss.IndexIDMap, faiss.IndexNSG, faiss.IndexRowwiseMinMaxBase)
LINEAR = (faiss.LinearTransform, faiss.RemapDimensionsTransform, faiss.CenteringTransform)
# Kinds whose score is the inner product with the decoded vector, to float32 precision.
DECODED = (
    faiss.IndexFlat,
    faiss.IndexPQ,
    faiss.IndexScalarQuantizer,
    faiss.IndexAdditiveQuantizer,
    faiss.IndexIVFFlat,
    faiss.IndexIVFPQ,
    faiss.IndexIVFScalarQuantizer,
    faiss.IndexIVFAdditiveQuantizer,
)
JOINT_TABLES = 16  # numbers in a sub-vector


def check_factory(factory: str, dim: int, where: str = "index.factory") -> None:
    """Refuse a factory string that FAISS cannot use for inner products of vectors of width `dim`. Immediate.

    Raises:
        HardnegError: the string is unknown, the M of a product quantiser does not divide the width, this kind of index
            does not support inner products, or it cannot be filled block by block. Names the key `where`.
    """
    new_index(factory, dim, where)


def check_search(factory: str, dim: int, nprobe: int | None, ef_search: int | None, where: str = "index") -> None:
    """Refuse search parameters that the index of a factory string does not have.

    Raises:
        HardnegError: `nprobe` for an index without inverted lists or with fewer lists, or `ef_search` for an index
            without a graph. Names the index's key, `where`.
    """
    index = new_index(factory, dim, f"{where}.factory")
    ivf = ivf_of(index)
    if nprobe is not None and (ivf is None or nprobe > ivf.nlist):
        raise HardnegError(
            "The index has no inverted lists." if ivf is None else "The index has fewer lists than nprobe.",
            where=f"{where}.nprobe",
            found=f"{nprobe} for {factory}",
            expected="null, or an IVF index, such as IVF256,Flat" if ivf is None else f"1 to {ivf.nlist}",
            remedy="set it to null, or choose an IVF index." if ivf is None else "lower nprobe, or use more lists.",
        )
    if ef_search is not None and not graphs_of(index):
        raise HardnegError(
            "The index has no graph to search.",
            where=f"{where}.ef_search",
            found=f"{ef_search} for {factory}",
            expected="null, or an HNSW index, such as HNSW32",
            remedy="set it to null, or choose an HNSW index.",
        )


def check_sample(factory: str, dim: int, rows: int | None, train_rows: int, where: str = "index") -> None:
    """Refuse to train an index on fewer vectors than FAISS needs.

    Args:
        factory: FAISS factory string.
        dim: width of the vectors.
        rows: number of vectors; None if not yet known.
        train_rows: number of vectors sampled for training.
        where: the index's key, for the message.

    Raises:
        HardnegError: the sample is smaller than `least_training`.
    """
    least = least_training(factory, dim)
    enough = rows is None or rows >= least
    if not enough or train_rows < least:
        smaller = "choose fewer lists or bits (IVF64, PQ16x4), or Flat"
        raise HardnegError(
            "There are too few vectors to train the index on.",
            where=f"{where}.train_rows" if enough else f"{where}.factory",
            found=f"{train_rows if rows is None else min(rows, train_rows):,} vectors for {factory}",
            expected=f"at least {least:,}",
            remedy=f"raise train_rows, or {smaller}."
            if enough
            else f"{smaller}, the best choice for a small collection.",
        )


def check_reconstruct(factory: str, dim: int, where: str = "index.factory") -> None:
    """Refuse an index that cannot return the vectors it scores with; see `retrieval.search.index.ServedVectors`.

    Raises:
        HardnegError: a transform is not linear, or this kind of index cannot decode its vectors or scores with others.
    """
    require_decoded(new_index(factory, dim, where), factory, where)


def check_centroids(factory: str, dim: int, where: str = "index.factory") -> None:
    """Refuse an index whose centroids cannot train; see `hardneg.retrieval.search.centroids`.

    Raises:
        HardnegError: it is no product quantiser, or there is more around it than linear transforms.
    """
    require_centroids(new_index(factory, dim, where), factory, where)


def require_centroids(index: faiss.Index, factory: str, where: str) -> faiss.IndexPQ:
    """The product quantiser inside an index, owned by `index`, which it must not outlive.

    Raises:
        HardnegError: as `check_centroids`.
    """
    *outer, quantised = parts(index)
    plain = all(isinstance(part, faiss.IndexPreTransform) for part in outer)
    linear = all(isinstance(transform, LINEAR) for part in outer for transform in transforms_of(part))
    if not isinstance(quantised, faiss.IndexPQ) or not (plain and linear):
        raise HardnegError(
            "The centroids of this index cannot train.",
            where=where,
            found=factory,
            expected="PQ, alone or after OPQ, PCA or RR",
            remedy=f"choose such an index, as {_examples(index.d)[3]}, or remove train.centroids.",
        )
    return quantised


def require_decoded(index: faiss.Index, factory: str, where: str) -> tuple[list[faiss.VectorTransform], faiss.Index]:
    """The transforms that a query passes through, in order, and the inner index that scores it.

    Both are owned by `index` and must not outlive it.

    Raises:
        HardnegError: as `check_reconstruct`.
    """
    transforms: list[faiss.VectorTransform] = []
    scored_by = faiss.downcast_index(index)
    while isinstance(scored_by, faiss.IndexPreTransform | faiss.IndexRefine | faiss.IndexHNSW):
        if isinstance(scored_by, faiss.IndexPreTransform):
            transforms += transforms_of(scored_by)
            inner = scored_by.index
        else:
            inner = scored_by.refine_index if isinstance(scored_by, faiss.IndexRefine) else scored_by.storage
        scored_by = faiss.downcast_index(inner)
    decoded = isinstance(scored_by, DECODED) and not isinstance(scored_by, faiss.IndexIVFFlatDedup)  # type: ignore[attr-defined]
    nested = any(isinstance(part, faiss.IndexIVF) for part in list(parts(scored_by))[1:])
    if not decoded or nested or not all(isinstance(transform, LINEAR) for transform in transforms):
        raise HardnegError(
            "This index cannot return the vectors that it scores with, which training needs.",
            where=where,
            found=factory,
            expected="Flat, PQ, SQ, RQ, LSQ, IVF or HNSW over these, after OPQ, PCA or RR; no L2norm, no fast scan",
            remedy=f"choose another index, such as {' or '.join(_examples(index.d)[1:4])}.",
        )
    return transforms, scored_by


def least_training(factory: str, dim: int) -> int:
    """The minimum number of vectors that FAISS needs to train the index; 0 if it needs no training."""
    index = new_index(factory, dim)
    # A PCA has no more dimensions than training vectors; a residual quantiser contains one.
    widths = [transform.d_out for transform in _transforms_within(index) if isinstance(transform, faiss.PCAMatrix)]
    widths += [quantiser.d for quantiser in _additive_within(index)]
    return 0 if index.is_trained else max(1, centroids(index), *widths)


def centroids(index: faiss.Index) -> int:
    """Number of centroids of the index's largest quantiser (coarse, product, residual or additive); 0 without one."""
    counts = [part.nlist for part in parts(index) if isinstance(part, faiss.IndexIVF)]
    counts += [part.pq.ksub for part in parts(index) if hasattr(part, "pq")]
    counts += [2 ** int(faiss.vector_to_array(quantiser.nbits).max()) for quantiser in _additive_within(index)]
    counts += [OPQ_CENTROIDS for transform in _transforms_within(index) if isinstance(transform, faiss.OPQMatrix)]
    return max(counts, default=0)


def new_index(factory: str, dim: int, where: str = "index.factory") -> faiss.Index:
    """An empty index for inner products of vectors of width `dim`.

    Raises:
        HardnegError: as `check_factory`.
    """
    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as fault:
        raise _refused(factory, dim, where, reason(fault)) from None
    for part in parts(index):
        if part.metric_type != faiss.METRIC_INNER_PRODUCT:  # some kinds silently fall back to Euclidean distance
            raise _refused(factory, dim, where, "FAISS supports this kind for Euclidean distances only")
        if isinstance(part, NOT_FILLED_IN_BLOCKS):
            raise _refused(factory, dim, where, "vectors cannot be added to this kind block by block")
        if hasattr(part, "do_polysemous_training"):
            # Polysemous training renumbers centroids for a search by Hamming distance, which is not used here. It
            # takes nearly two seconds a sub-quantiser and does not change scores.
            part.do_polysemous_training = False
    return index


def parts(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and all indexes inside it, outer ones first. Inner ones must not outlive `index`."""
    index = faiss.downcast_index(index)
    yield index
    for name in INNER:
        if (inner := getattr(index, name, None)) is not None:
            yield from parts(inner)


def transforms_of(part: faiss.Index) -> list[faiss.VectorTransform]:
    """The transforms of an IndexPreTransform, in order; empty for any other index."""
    if not isinstance(part, faiss.IndexPreTransform):
        return []
    chain: Any = part.chain
    return [faiss.downcast_VectorTransform(chain.at(place)) for place in range(chain.size())]


def _transforms_within(index: faiss.Index) -> list[faiss.VectorTransform]:
    return [transform for part in parts(index) for transform in transforms_of(part)]


def _additive_within(index: faiss.Index) -> list[faiss.AdditiveQuantizer]:
    found = (getattr(part, "aq", getattr(part, "rq", None)) for part in parts(index))
    return [quantiser for quantiser in found if quantiser is not None]


def ivf_of(index: faiss.Index) -> faiss.IndexIVF | None:
    """The outermost IVF index, or None."""
    return next((part for part in parts(index) if isinstance(part, faiss.IndexIVF)), None)


def graphs_of(index: faiss.Index) -> list[faiss.IndexHNSW]:
    """The HNSW graphs in the index, over passages or over lists."""
    return [part for part in parts(index) if isinstance(part, faiss.IndexHNSW)]


def searches_apart(index: faiss.Index) -> bool:
    """Whether FAISS searches each query by itself on a CPU, so that others cannot change a bit of its scores.

    It has one product of all queries in transforms, in the coarse quantiser of an IVF index, and in a product
    quantiser whose sub-vectors have 16 numbers or more.
    """
    outer = faiss.downcast_index(index)
    if isinstance(outer, faiss.IndexPQ):
        return bool(outer.pq.dsub < JOINT_TABLES)
    return isinstance(outer, faiss.IndexScalarQuantizer | faiss.IndexHNSW)


def reason(fault: RuntimeError) -> str:
    """FAISS's message, without the source location before it."""
    return str(fault).split(".cpp:")[-1].split(": ", 1)[-1].strip()


def _refused(factory: str, dim: int, where: str, why: str) -> HardnegError:
    divisors = ", ".join(map(str, _divisors(dim)))
    return HardnegError(
        "FAISS cannot build an inner-product index from this factory string.",
        where=where,
        found=f"'{factory}' for vectors of width {dim}: {why}",
        expected=f"such as {', '.join(_examples(dim))}",
        remedy=f"correct the string; the M of PQ and OPQ must divide the width: {divisors}.",
    )


def _examples(dim: int) -> list[str]:
    m = max(divisor for divisor in _divisors(dim) if divisor <= max(1, dim // 8))
    return ["Flat", "SQ8", f"PQ{m}", f"OPQ{m},PQ{m}", "IVF256,Flat", f"IVF256,PQ{m}", "HNSW32"]


def _divisors(dim: int) -> list[int]:
    return [m for m in range(1, dim + 1) if dim % m == 0]

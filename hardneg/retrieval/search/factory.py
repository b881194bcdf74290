"""FAISS's factory strings, checked before anything long starts: imports FAISS and nothing else that is heavy.

A factory string stands for indexes inside indexes: behind transforms, to refine with, inside a graph, to choose lists
by. What is asked of it is asked of these, made and empty, never of its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss

from hardneg.errors import HardnegError

# FAISS wants so many vectors for each centroid, and warns where there are fewer.
POINTS_PER_CENTROID = 39
OPQ_CENTROIDS = 256  # FAISS finds the rotation with a quantiser of 8 bits, whichever follows
INNER = ("index", "base_index", "refine_index", "storage", "quantizer")
# They take no vectors, or not block by block.
NOT_FILLED_IN_BLOCKS = (faiss.IndexIDMap, faiss.IndexNSG, faiss.IndexRowwiseMinMaxBase)
LINEAR = (faiss.LinearTransform, faiss.RemapDimensionsTransform, faiss.CenteringTransform)
# The score that these give is the inner product with the vector that they decode, to the precision of float32.
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


def check_factory(factory: str, dim: int, where: str = "index.factory") -> None:
    """Refuse a factory string that FAISS cannot use for inner products of vectors of width `dim`; takes no time.

    Raises:
        HardnegError: the string is unknown, the M of a product quantiser does not divide the width, the kind of index
            knows no inner product, or it cannot be filled block by block; naming the key `where`.
    """
    new_index(factory, dim, where)


def check_search(factory: str, dim: int, nprobe: int | None, ef_search: int | None, where: str = "index") -> None:
    """Refuse parameters of a search that the index of a factory string does not have.

    Raises:
        HardnegError: `nprobe` for an index without lists or beyond their number, or `ef_search` for one without a
            graph; naming the key of the index, `where`.
    """
    index = new_index(factory, dim, f"{where}.factory")
    ivf = ivf_of(index)
    if nprobe is not None and (ivf is None or nprobe > ivf.nlist):
        raise HardnegError(
            "The index has no lists to look into." if ivf is None else "The index has fewer lists than that.",
            where=f"{where}.nprobe",
            found=f"{nprobe} for {factory}",
            expected="null, or an IVF index, such as IVF256,Flat" if ivf is None else f"1 to {ivf.nlist}",
            remedy="set it to null, or choose an IVF index." if ivf is None else "lower it, or raise the lists.",
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
        factory: FAISS's factory string.
        dim: the width of the vectors.
        rows: how many there are; None where that is not known yet.
        train_rows: how many of them are drawn to train on.
        where: the key of the index.

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
            else f"{smaller}, which a small collection is served best by.",
        )


def check_reconstruct(factory: str, dim: int, where: str = "index.factory") -> None:
    """Refuse an index that cannot hand out the vectors it scores with; see `hardneg.retrieval.search.index.ServedVectors`.

    Raises:
        HardnegError: a transform before it is not linear, or its kind decodes no vectors, or scores with others.
    """
    require_decoded(new_index(factory, dim, where), factory, where)


def require_decoded(index: faiss.Index, factory: str, where: str) -> tuple[list[faiss.VectorTransform], faiss.Index]:
    """The transforms that a query goes through, in order, and the index inside that then scores it.

    Both belong to `index` and end with it.

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
            "This index cannot hand out the vectors that it scores with, which training needs.",
            where=where,
            found=factory,
            expected="Flat, PQ, SQ, RQ, LSQ, IVF or HNSW over these, after OPQ, PCA or RR; no L2norm, no fast scan",
            remedy=f"choose another index, such as {' or '.join(_examples(index.d)[1:4])}.",
        )
    return transforms, scored_by


def least_training(factory: str, dim: int) -> int:
    """How many vectors FAISS needs at the very least to train the index; 0 where nothing is trained."""
    index = new_index(factory, dim)
    # A PCA gives no more dimensions than it saw vectors; a residual quantiser is trained with one.
    widths = [transform.d_out for transform in _transforms_within(index) if isinstance(transform, faiss.PCAMatrix)]
    widths += [quantiser.d for quantiser in _additive_within(index)]
    return 0 if index.is_trained else max(1, centroids(index), *widths)


def centroids(index: faiss.Index) -> int:
    """How many the largest quantiser in it has: coarse, product, residual, additive; 0 without any."""
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
        if part.metric_type != faiss.METRIC_INNER_PRODUCT:  # some kinds fall back on it without a word
            raise _refused(factory, dim, where, "FAISS has this kind for Euclidean distances only")
        if isinstance(part, NOT_FILLED_IN_BLOCKS):
            raise _refused(factory, dim, where, "vectors cannot be added to this kind block by block")
        if hasattr(part, "do_polysemous_training"):
            # It numbers centroids such that Hamming distances between codes mean something, for a search that nobody
            # here does; it takes nearly two seconds a sub-quantiser, and scores stay as they are.
            part.do_polysemous_training = False
    return index


def parts(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and all indexes inside it, outer ones first; inner ones end with `index`."""
    index = faiss.downcast_index(index)
    yield index
    for name in INNER:
        if (inner := getattr(index, name, None)) is not None:
            yield from parts(inner)


def transforms_of(part: faiss.Index) -> list[faiss.VectorTransform]:
    """The transforms of an IndexPreTransform, in order; none of any other index."""
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
    """The inverted lists that are searched, or None."""
    return next((part for part in parts(index) if isinstance(part, faiss.IndexIVF)), None)


def graphs_of(index: faiss.Index) -> list[faiss.IndexHNSW]:
    """The graphs in it, of passages or of lists."""
    return [part for part in parts(index) if isinstance(part, faiss.IndexHNSW)]


def reason(fault: RuntimeError) -> str:
    """FAISS's own words, without the place in its source code before them."""
    return str(fault).split(".cpp:")[-1].split(": ", 1)[-1].strip()


def _refused(factory: str, dim: int, where: str, why: str) -> HardnegError:
    divisors = ", ".join(map(str, _divisors(dim)))
    return HardnegError(
        "FAISS cannot make an index for inner products from this factory string.",
        where=where,
        found=f"'{factory}' for vectors of width {dim}: {why}",
        expected=f"such as {', '.join(_examples(dim))}",
        remedy=f"mend the string; the M of PQ and OPQ divides the width: {divisors}.",
    )


def _examples(dim: int) -> list[str]:
    m = max(divisor for divisor in _divisors(dim) if divisor <= max(1, dim // 8))
    return ["Flat", "SQ8", f"PQ{m}", f"OPQ{m},PQ{m}", "IVF256,Flat", f"IVF256,PQ{m}", "HNSW32"]


def _divisors(dim: int) -> list[int]:
    return [m for m in range(1, dim + 1) if dim % m == 0]

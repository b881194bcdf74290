"""FAISS's factory strings, checked before anything long starts: imports FAISS and nothing else that is heavy."""

from __future__ import annotations

import faiss

from hardneg.errors import HardnegError


def check_factory(factory: str, dim: int) -> None:
    """Refuse a factory string that FAISS cannot use for inner products of vectors of width `dim`; takes no time.

    Raises:
        HardnegError: the string is unknown, the M of a product quantiser does not divide the width, or the kind of
            index knows no inner product.
    """
    new_index(factory, dim)


def new_index(factory: str, dim: int) -> faiss.Index:
    """An empty index for inner products of vectors of width `dim`.

    Raises:
        HardnegError: as `check_factory`.
    """
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as fault:
        divisors = [m for m in range(1, dim + 1) if dim % m == 0]
        m = max(divisor for divisor in divisors if divisor <= max(1, dim // 8))
        raise HardnegError(
            "FAISS cannot make an index for inner products from this factory string.",
            where="index.factory",
            found=f"'{factory}' for vectors of width {dim}: {reason(fault)}",
            expected=f"such as Flat, SQ8, PQ{m}, OPQ{m},PQ{m}, IVF256,Flat, IVF256,PQ{m}, HNSW32",
            remedy=f"mend the string; the M of PQ and OPQ divides the width: {', '.join(map(str, divisors))}.",
        ) from None


def reason(fault: RuntimeError) -> str:
    """FAISS's own words, without the place in its source code before them."""
    return str(fault).split(".cpp:")[-1].split(": ", 1)[-1].strip()

"""How much is searched at once. With MKL, scores depend on these numbers, so they are fixed."""

QUERY_BATCH = 512
"""Queries in one matrix product."""

BLOCK = 16_384
"""Passages that are looked through together on a CPU."""

GPU_BLOCK = 1 << 20
"""Passages at most in one matrix product on a GPU. A GPU works at it longer than a CPU takes to tell it what to do."""

GPU_SCORES = 1 << 29
"""Numbers at most in such a product: 1 GiB in float16."""

GPU_BLOCKS = 8
"""Where one block on a GPU is not enough, their number is a multiple of this: 2, 4 or 8 GPUs have as many each."""

TILE = 1024
"""Passages in one matrix product on a CPU.

A tile's scores are still in the cache when they are looked at. Rows of scores that lie further apart make MKL slower.
"""

TILES = 8
"""Tiles at most that are multiplied together with few queries, where shapes are free."""

HOST_RESIDENT_BYTES = 2 << 30
"""Passage vectors of at most so many bytes stay in memory on a CPU."""

NUMBERS_AT_ONCE = 1 << 24
"""Products of single numbers that a GPU holds in float64 when it scores."""

SCORED_AGAIN = 256
"""About how many passages of a block share one product when candidates are scored again."""

COLUMNS = 64
"""Blocks are zero-padded to a multiple of so many passages.

With fewer columns than its kernel takes at once, MKL sums in another order, and equal passages would get unequal
scores.
"""

HITS_AT_ONCE = 8_000_000
"""The passages are read once for this many hits."""


def gpu_block(rows: int, query_batch: int) -> int:
    """Passages in each block of `rows` passages on a GPU, a multiple of `COLUMNS`.

    All blocks but the last are alike, and do not depend on the number of GPUs.
    """
    limit = max(min(GPU_BLOCK, GPU_SCORES // query_batch // COLUMNS * COLUMNS), COLUMNS)
    count = 1 if rows <= limit else -(-rows // (limit * GPU_BLOCKS)) * GPU_BLOCKS
    return -(-rows // (count * COLUMNS)) * COLUMNS

"""How much is searched at once. Scores depend on these numbers, so they are fixed; the estimate uses them too."""

QUERY_BATCH = 512
"""Queries in one matrix product."""

BLOCK = 16_384
"""Passages that are looked through together; on a GPU, in one matrix product."""

TILE = 1024
"""Passages in one matrix product on a CPU.

A tile's scores are still in the cache when they are looked at. Rows of scores that lie further apart make MKL slower.
"""

CELL = 128
"""Scores of a query that are passed over together if none of them is high enough."""

HOST_RESIDENT_BYTES = 2 << 30
"""Passage vectors of at most so many bytes stay in memory on a CPU."""

HITS_AT_ONCE = 8_000_000
"""The passages are read once for this many hits."""

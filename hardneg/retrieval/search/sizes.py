"""How much is searched at once. Scores depend on these numbers, so they are fixed; the estimate uses them too."""

QUERY_BATCH = 512
"""Queries in one matrix product."""

BLOCK = 16_384
"""Passages in one matrix product."""

HOST_RESIDENT_BYTES = 2 << 30
"""Passage vectors of at most so many bytes stay in memory on a CPU."""

HITS_AT_ONCE = 8_000_000
"""The passages are read once for this many hits."""

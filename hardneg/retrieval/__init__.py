"""Rankings: BM25, dense search, imported runs, and negatives mined from them."""

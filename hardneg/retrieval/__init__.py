"""Rankings: BM25, dense search, rankings made elsewhere, and what is mined from them."""

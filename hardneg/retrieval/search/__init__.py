"""Search over passage vectors: exact inner products, and FAISS indexes from a factory string."""

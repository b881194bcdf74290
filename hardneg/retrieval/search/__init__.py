"""Searching passage vectors: exact inner products, and FAISS indexes made from a factory string."""

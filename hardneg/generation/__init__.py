"""Texts that a language model writes: hard negatives for queries, and queries for passages."""

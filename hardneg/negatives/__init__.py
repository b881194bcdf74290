"""Negatives: where candidates come from, which are thrown out, which are drawn."""

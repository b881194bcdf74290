"""Effectiveness measures, significance tests, and expected scores."""

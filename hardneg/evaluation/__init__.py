"""Measures, tests of significance, expected scores."""

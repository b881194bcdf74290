"""hardneg: dense retrieval trained with hard negatives, as one workflow."""

__version__ = "0.1.0"

"""The report's tables, one file each."""

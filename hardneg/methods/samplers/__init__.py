"""Which candidates are drawn. One answer a file."""

"""Which candidates are thrown out. One answer a file."""

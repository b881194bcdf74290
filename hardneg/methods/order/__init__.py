"""Which queries meet in a batch. One answer a file."""

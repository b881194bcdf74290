"""When candidates are renewed. One answer a file."""

"""Who says what is relevant. One answer a file."""

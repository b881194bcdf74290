"""What else is in the batch. One answer a file."""

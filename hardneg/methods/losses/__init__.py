"""What is minimised. One answer a file."""

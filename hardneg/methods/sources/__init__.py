"""Where candidates come from. One answer a file."""

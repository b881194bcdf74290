"""What the numbers say about the paper's claims."""

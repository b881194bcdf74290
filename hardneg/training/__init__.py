"""Training loops around live retrieval and mined negatives."""

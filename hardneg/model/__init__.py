"""Models: encoders from text to vector, and scorers of pairs."""

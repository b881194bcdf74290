"""What the report looks into beside effectiveness: errors, training, negatives, agreement, movement, examples."""

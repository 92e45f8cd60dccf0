"""The pipeline: its options, its parts, and the loop that hands out batches."""

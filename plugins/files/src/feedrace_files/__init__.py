"""Image folders, text lines, tar shards, ArrayRecord and TFRecord files for Feedrace."""

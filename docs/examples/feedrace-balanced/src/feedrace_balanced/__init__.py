"""A sampler for Feedrace that draws each label equally often, or in given shares."""

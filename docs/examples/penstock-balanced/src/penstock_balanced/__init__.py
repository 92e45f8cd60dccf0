"""A sampler for Penstock that draws each label equally often, or in given shares."""

"""Base classes for authors of samplers, sources and batchers, on `flax.nnx`."""

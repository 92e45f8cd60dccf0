"""The device half: batches placed on devices, and records that are there already."""

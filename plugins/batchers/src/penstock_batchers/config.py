"""Configs of this plugin's batchers."""

import attrs

from penstock import StructuralConfig


@attrs.frozen(kw_only=True)
class DefaultBatcherConfig(StructuralConfig):
    """Config of the default batcher; it has no fields of its own."""

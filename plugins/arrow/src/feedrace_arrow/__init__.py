"""Parquet, Arrow, CSV, JSON Lines and Hugging Face datasets for Feedrace."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_arrow.config import (
        ArrowFilesConfig,
        CSVConfig,
        HuggingFaceConfig,
        JSONLinesConfig,
        ParquetConfig,
    )
    from feedrace_arrow.hugging_face import HuggingFaceSource
    from feedrace_arrow.sources import ArrowSource, CSVSource, JSONLinesSource, ParquetSource

__all__ = ["ArrowFilesConfig", "ArrowSource", "CSVConfig", "CSVSource", "HuggingFaceConfig",
           "HuggingFaceSource", "JSONLinesConfig", "JSONLinesSource", "ParquetConfig",
           "ParquetSource"]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_arrow' has no attribute {name!r}")
    home = "config" if name.endswith("Config") else "sources"
    home = "hugging_face" if name == "HuggingFaceSource" else home
    return getattr(import_module(f"feedrace_arrow.{home}"), name)

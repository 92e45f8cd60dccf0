"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="parquet",
        target="feedrace_arrow.sources:ParquetSource",
        config="feedrace_arrow.config:ParquetConfig",
        summary="Parquet files, read by row groups that stay in memory.",
    )
    yield Component(
        kind="source",
        name="arrow",
        target="feedrace_arrow.sources:ArrowSource",
        config="feedrace_arrow.config:ArrowFilesConfig",
        summary="Arrow files and streams, read by record batches that stay in memory.",
    )
    yield Component(
        kind="source",
        name="json-lines",
        target="feedrace_arrow.sources:JSONLinesSource",
        config="feedrace_arrow.config:JSONLinesConfig",
        summary="Files with a JSON object on each line, read by line.",
    )
    yield Component(
        kind="source",
        name="csv",
        target="feedrace_arrow.sources:CSVSource",
        config="feedrace_arrow.config:CSVConfig",
        summary="CSV files, read by record.",
    )
    yield Component(
        kind="source",
        name="hugging-face",
        target="feedrace_arrow.hugging_face:HuggingFaceSource",
        config="feedrace_arrow.config:HuggingFaceConfig",
        summary="A Hugging Face dataset: from a folder, from its cache, or by name.",
    )

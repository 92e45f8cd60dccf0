"""The source of the lines of text files."""

from flax import nnx

from feedrace.plugin import (
    FileSource,
    Ranges,
    RawContent,
    TableCache,
    Tables,
    chosen,
    scan_lines,
    storage_of,
)
from feedrace_files.config import TextLinesConfig
from feedrace_files.lines import TextContent, TextDecoder

_SUFFIXES = (".txt", ".text")


class TextLinesSource(FileSource):
    """The lines of text files in UTF-8: field `text`, a str.

    A line ends with a newline, with or without a carriage return before it, and has neither. Empty
    lines are records; nothing behind the last newline is none. A line that is not UTF-8 is a bad
    record.
    """

    def __init__(
        self, config: TextLinesConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        chosen(["text"], config.columns, "text-lines")
        storage = storage_of(config)
        files = storage.find(config.path, _SUFFIXES)
        tables = Tables(TableCache(storage), "lines", files, scan_lines)
        sentences = ("lines are found by number, through a table of where each begins",)
        lines = RawContent(Ranges(storage, files, tables), TextDecoder(), sentences)
        super().__init__(config, TextContent(lines), files, rngs=rngs, name=name)

"""The source of TFRecord files."""

from flax import nnx

from feedrace.plugin import (
    FileSource,
    Ranges,
    RawContent,
    TableCache,
    Tables,
    check_tfrecord,
    chosen,
    storage_of,
)
from feedrace_files.config import TFRecordConfig
from feedrace_files.examples import example_decoder
from feedrace_files.found import check_whole, find_shards
from feedrace_files.records import BytesDecoder, scan_uncompressed

_NAMES = r"(?i)\.tf_?rec(ord)?s?\b"


class TFRecordSource(FileSource):
    """The records of TFRecord files: the declared features of Examples, or field `record`.

    The checksum of each record is checked. A record that lacks a feature, or has other values than
    were declared, is a bad record; a feature of varying length may be missing, and then is empty.
    """

    def __init__(
        self, config: TFRecordConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        storage = storage_of(config)
        files = find_shards(storage, config.path, _NAMES, "TFRecord")
        tables = Tables(TableCache(storage), "tfrecord", files, scan_uncompressed)
        check_whole(config, files, tables)
        records = Ranges(storage, files, tables, check_tfrecord)
        if config.features is None:
            chosen(["record"], config.columns, "tfrecord without features")
            content = RawContent(records, BytesDecoder())
        else:
            content = RawContent(records, example_decoder(config, records, files[0].path))
        super().__init__(config, content, files, rngs=rngs, name=name)

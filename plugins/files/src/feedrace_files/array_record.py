"""The source of ArrayRecord files."""

import os
from collections.abc import Sequence

from flax import nnx

from feedrace.plugin import (
    ArrayRecords,
    DataError,
    Decoder,
    File,
    FileSource,
    RawContent,
    Storage,
    Table,
    TableCache,
    Tables,
    chosen,
    is_remote,
    scan_array_record,
    storage_of,
)
from feedrace_files import encoding
from feedrace_files.config import ArrayRecordConfig
from feedrace_files.converted import ConvertedDecoder
from feedrace_files.examples import example_decoder
from feedrace_files.found import find_shards
from feedrace_files.records import BytesDecoder

_NAMES = r"(?i)\.array_?records?\b"


class ArrayRecordSource(FileSource):
    """The records of ArrayRecord files.

    Its fields are those of the records that `feedrace convert` wrote, if its `feedrace.json` lies
    beside the files; the declared features of Examples; or else the field `record`, which holds
    bytes. The library checks the checksum of each record. Files at addresses are read by ranges.
    """

    def __init__(
        self, config: ArrayRecordConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        storage = storage_of(config)
        files = find_shards(storage, config.path, _NAMES, "ArrayRecord")
        remote = is_remote(files[0].path)
        kind = "array-record-chunks" if remote else "array-record"
        tables = Tables(TableCache(storage), kind, files, scan_array_record)
        records = ArrayRecords(storage, files, tables)
        decoder = _decoder(config, storage, files, records)
        way = "a table of their chunks" if remote else "the files' own index"
        sentences = [f"records are found by number, through {way}", *_groups(tables)]
        super().__init__(
            config, RawContent(records, decoder, sentences), files, rngs=rngs, name=name
        )


def _groups(tables: Sequence[Table]) -> list[str]:
    """Return a sentence on groups of records, if there are any of more than one."""
    most = max(int(table.arrays["group"][0]) for table in tables)
    if most == 1:
        return []
    return [
        f"they lie in groups of up to {most}, and a whole group is decoded for a record in it: "
        f"write files with group_size:1 for random orders"
    ]


def _decoder(
    config: ArrayRecordConfig, storage: Storage, files: Sequence[File], records: ArrayRecords
) -> Decoder:
    if config.features is not None:
        return example_decoder(config, records, files[0].path)
    document = _document(storage, files)
    if document is None:
        chosen(["record"], config.columns, "array-record without features")
        return BytesDecoder()
    _check_counts(document, files, records)
    names = [field.name for field in document.fields]
    columns = chosen(names, config.columns, encoding.SIDECAR)
    fields = {field.name: field for field in document.fields}
    return ConvertedDecoder(document.fields, [fields[name] for name in columns])


def _document(storage: Storage, files: Sequence[File]) -> encoding.Document | None:
    """Return what `feedrace convert` wrote beside the files, if it did."""
    folders = {file.path.rpartition("/")[0] for file in files}
    place = f"{min(folders)}/{encoding.SIDECAR}"
    if len(folders) > 1 or not (is_remote(place) or os.path.exists(place)):
        return None
    try:
        [file] = storage.find(place)
    except DataError:
        if is_remote(place):
            return None
        raise
    return encoding.read_document(storage.open(file).read(0, file.size), place)


def _check_counts(
    document: encoding.Document, files: Sequence[File], records: ArrayRecords
) -> None:
    """Raise `DataError` for a file that the document does not know as it is."""
    told = {shard.file: shard.records for shard in document.shards}
    for file, table in zip(files, records.tables, strict=True):
        name, held = os.path.basename(file.path), int(table.arrays["records"][0])
        if told.get(name) != held:
            says = f"says {told[name]}" if name in told else "does not name it"
            raise DataError(
                f"{file.path} holds {held} records, and {encoding.SIDECAR} beside it {says}; "
                f"convert again, or move the file into a folder of its own"
            )

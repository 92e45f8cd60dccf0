"""The source of samples in tar files: WebDataset shards."""

from flax import nnx

from feedrace.plugin import DataError, FileSource, TableCache, Tables, chosen, storage_of
from feedrace_files.config import TarConfig
from feedrace_files.found import check_whole
from feedrace_files.samples import KEY, TarContent
from feedrace_files.tar_index import names_in, scan_tar


class TarSource(FileSource):
    """The samples of tar files, as WebDataset writes them: a field for each extension.

    Field `key` is the name of the sample, with its folder. `cls` is an int32, `txt` a str; any
    other extension holds bytes, for a record stage to decode. A sample that lacks a field which
    others have is a bad record. Nothing is extracted to disk.
    """

    def __init__(
        self, config: TarConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        storage = storage_of(config)
        files = storage.find(config.path, (".tar",))
        tables = Tables(TableCache(storage), "tar", files, scan_tar)
        check_whole(config, files, tables)
        found = sorted({name for table in tables for name in names_in(table.arrays["extensions"])})
        if KEY in found:
            raise DataError(
                f"{files[0].path}: a file has the extension {KEY!r}, which is the field of the "
                f"samples' names; rename it"
            )
        columns = chosen([KEY, *found], config.columns, "tar")
        content = TarContent(storage, files, tables, tuple(columns))
        super().__init__(config, content, files, rngs=rngs, name=name)

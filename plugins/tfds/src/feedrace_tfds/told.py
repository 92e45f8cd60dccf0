"""How many records a file holds, against what the dataset's metadata say."""

from feedrace.plugin import DataError, too_few


def check_count(path: str, held: int, told: int, *, whole: bool, damage: str = "") -> None:
    """Raise `DataError` for a file with more records than told; if `whole`, for one with fewer.

    damage: why no more can be found, if that is known.
    """
    if held > told:
        raise more_than_told(path, held, told)
    if whole and held < told:
        raise DataError(f"{path}: {damage or too_few(held)}; prepare the dataset again")


def more_than_told(path: str, held: int, told: int) -> DataError:
    """Return the error for a file with records that the metadata do not count."""
    return DataError(
        f"{path} holds {held} records, and the shardLengths of dataset_info.json say {told}; the "
        f"others would never be read; prepare the dataset again"
    )

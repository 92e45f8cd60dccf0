import os
import sys
from pathlib import Path

import pytest

FORMATS = ("tfrecord", "array_record")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep the tables of record offsets out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder of what tests prepare: FEEDRACE_TEST_DATA if that is set.

    With it, an environment without TensorFlow can read what another one prepared.
    """
    shared = os.environ.get("FEEDRACE_TEST_DATA")
    return Path(shared) if shared else tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session")
def digits(prepared):
    """Folders with feedrace_digits prepared in both formats, by file format."""
    from feedrace.errors import DataError
    from feedrace_tfds.config import TFDSStreamingConfig
    from feedrace_tfds.prepare import prepared_builder

    folders = {}
    for file_format in FORMATS:
        folder = prepared / file_format
        folder.mkdir(parents=True, exist_ok=True)
        config = TFDSStreamingConfig(
            name="feedrace_digits",
            split="train",
            data_dir=str(folder),
            download_and_prepare_kwargs={"file_format": file_format},
        )
        try:
            prepared_builder(config)
        except DataError as error:
            if "needs TensorFlow" not in str(error):
                raise
            pytest.skip(f"{error} (or set FEEDRACE_TEST_DATA)")
        folders[file_format] = str(folder)
    return folders


@pytest.fixture(params=FORMATS)
def data_dir(request, digits):
    return digits[request.param]


@pytest.fixture(scope="session")
def everything(prepared):
    """Folders with the dataset of every kind of feature, by file format."""
    sys.path.insert(0, str(Path(__file__).parent))
    folders = {}
    for file_format in FORMATS:
        folder = prepared / file_format
        if not (folder / "everything" / "1.0.0" / "features.json").exists():
            pytest.importorskip("tensorflow", reason="preparing needs TensorFlow")
            from everything import Everything

            Everything(data_dir=folder, file_format=file_format).download_and_prepare()
        folders[file_format] = str(folder)
    return folders


@pytest.fixture(scope="session")
def starts():
    """A function: where the data of each record of a TFRecord file begins, behind its header."""
    from feedrace.plugin import Storage, scan_tfrecord

    def of(path):
        storage = Storage()
        return scan_tfrecord(storage.open(*storage.find(str(path)))).arrays["starts"].tolist()

    return of

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Folders with penstock_digits prepared in both formats, by file format.

    They are below PENSTOCK_TEST_DATA where that is set, so that an environment without TensorFlow
    can read what another one prepared.
    """
    from penstock import DataError
    from penstock_tfds.config import TFDSStreamingConfig
    from penstock_tfds.prepare import prepared_builder

    shared = os.environ.get("PENSTOCK_TEST_DATA")
    root = Path(shared) if shared else tmp_path_factory.mktemp("prepared")
    folders = {}
    for file_format in ("tfrecord", "array_record"):
        folder = root / file_format
        folder.mkdir(parents=True, exist_ok=True)
        config = TFDSStreamingConfig(
            name="penstock_digits",
            split="train",
            data_dir=str(folder),
            download_and_prepare_kwargs={"file_format": file_format},
        )
        try:
            prepared_builder(config)
        except DataError as error:
            if "needs TensorFlow" not in str(error):
                raise
            pytest.skip(f"{error} (or set PENSTOCK_TEST_DATA)")
        folders[file_format] = str(folder)
    return folders


@pytest.fixture(params=["tfrecord", "array_record"])
def data_dir(request, digits):
    return digits[request.param]

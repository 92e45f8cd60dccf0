"""The choice between the sources, and TFDS's own ways to name data."""

from types import SimpleNamespace

import numpy as np
import pytest

from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace_tfds import (
    TFDSEagerConfig,
    TFDSEagerSource,
    TFDSStreamingConfig,
    TFDSStreamingSource,
    eager,
    factory,
    from_tfds,
)


def test_what_is_small_is_eager_and_what_is_large_streams(data_dir, monkeypatch, capsys):
    small = from_tfds("feedrace_digits", "train", data_dir=data_dir, shuffle=True)
    assert isinstance(small, TFDSEagerSource)
    assert small.config.shuffle
    printed = capsys.readouterr().err
    assert "feedrace_digits:train by tfds-eager, since 112.3 KiB decoded are at most 10%" in printed
    assert small.details()[0] in printed
    monkeypatch.setattr(factory, "device_memory", lambda: 1_000_000)
    large = from_tfds("feedrace_digits", "train", data_dir=data_dir)
    assert isinstance(large, TFDSStreamingSource)
    assert "112.3 KiB decoded are more than 10% of the 976.6 KiB" in capsys.readouterr().err
    assert isinstance(from_tfds("feedrace_digits", "train[:5%]", data_dir=data_dir),
                      TFDSEagerSource)  # fmt: skip
    forced = from_tfds("feedrace_digits", "train", data_dir=data_dir, eager=True)
    assert isinstance(forced, TFDSEagerSource)
    streamed = from_tfds("feedrace_digits", "test", data_dir=data_dir, prefetch_buffer=4)
    assert isinstance(streamed, TFDSStreamingSource)


def test_what_varies_in_shape_streams_unless_padded(everything, capsys):
    fields = {"data_dir": everything["tfrecord"], "include_keys": ["tokens"]}
    assert isinstance(from_tfds("everything", "test", **fields), TFDSStreamingSource)
    assert "the shape of tokens (None,) varies" in capsys.readouterr().err
    padded = from_tfds("everything", "test", **fields, pad_to={"tokens": 8})
    assert isinstance(padded, TFDSEagerSource)


def test_eager_data_that_does_not_fit_names_its_size_and_streaming(data_dir, monkeypatch):
    monkeypatch.setattr(eager, "device_memory", lambda: 100_000)
    with pytest.raises(DataError, match=r"1437 records .* are 112.3 KiB decoded.*tfds-streaming"):
        create("source", "tfds-eager", name="feedrace_digits", split="train", data_dir=data_dir)


def test_even_splits_share_out_a_split(data_dir):
    import tensorflow_datasets as tfds

    parts = [
        TFDSStreamingSource(
            TFDSStreamingConfig(name="feedrace_digits", split=split, data_dir=data_dir)
        )
        for split in tfds.even_splits("train[:100]+test[:11]", n=3)
    ]
    assert [len(part) for part in parts] == [38, 37, 36]
    assert parts[0].split_name == "train[0:34]+test[0:4]"
    seen = np.concatenate([part.fetch(np.arange(len(part)))["index"] for part in parts])
    assert len(set(seen.tolist())) == 111
    with pytest.raises(DataError, match="no split"):
        TFDSEagerSource(
            TFDSEagerConfig(
                name="feedrace_digits", split=tfds.even_splits("valid", 2)[0], data_dir=data_dir
            )
        )


def test_a_folder_stands_for_a_dataset(data_dir, tmp_path):
    made = create("source", "tfds-streaming", split="test",
                  directory=f"{data_dir}/feedrace_digits/1.0.0")  # fmt: skip
    assert made.dataset_name == "feedrace_digits/1.0.0"
    assert len(made) == 360
    with pytest.raises(DataError, match="is not a prepared dataset"):
        create("source", "tfds-eager", split="test", directory=str(tmp_path))
    with pytest.raises(ConfigError, match="directory: given with name"):
        create("source", "tfds-eager", name="d", split="test", directory=str(tmp_path))


def test_sub_splits_in_percent_and_shards(data_dir):
    def length(split):
        return len(create("source", "tfds-streaming", name="feedrace_digits", split=split,
                          data_dir=data_dir))  # fmt: skip

    assert length("train[:80%]") + length("train[80%:]") == 1437
    assert length("train[0shard]") == 1437
    assert length("all") == 1797


def test_try_gcs_and_beam_workers_reach_tfds(monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow")
    from feedrace_tfds import prepare

    asked = {}

    class Builder:
        info = SimpleNamespace(full_name="mnist/3.0.1")
        data_dir = "gs://nowhere"

        def download_and_prepare(self, **arguments):
            asked.update(arguments)
            raise ValueError("enough")

    def builder(name, **arguments):
        asked.update(arguments, name=name)
        return Builder()

    monkeypatch.setattr(tfds, "builder", builder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = TFDSStreamingConfig(
        name="mnist", split="train", try_gcs=True,
        download_and_prepare_kwargs={"file_format": "array_record"},
    )  # fmt: skip
    with pytest.raises(DataError, match="TFDS cannot prepare dataset 'mnist': enough"):
        prepare.prepared_builder(config)
    assert asked == {"name": "mnist", "try_gcs": True, "file_format": "array_record"}


def test_beam_workers_need_beam(monkeypatch):
    from feedrace_tfds import prepare

    config = TFDSStreamingConfig(name="mnist", split="train", beam_num_workers=2)
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match="pip install apache-beam"):
            prepare._prepare_arguments(config)
    else:
        options = prepare._prepare_arguments(config)["download_config"].beam_options
        assert options.get_all_options()["direct_num_workers"] == 2

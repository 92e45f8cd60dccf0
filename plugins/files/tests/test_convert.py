"""`feedrace convert`: a whole data set or none, and one that was stopped goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from feedrace.plugin import (
    ConfigError,
    DataError,
    FeedraceError,
    LeafSpec,
    all_records,
    leaves,
    load_records,
    registry,
)
from feedrace_files.convert import convert
from feedrace_files.encoding import SIDECAR, Decoder, read_document
from feedrace_testing.processes import check_none_left

HERE = Path(__file__).parent
_LEAF = LeafSpec((), np.dtype(np.int32))
SOURCE = '[source]\nuse = "made"\n'


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import convert_parts

    with registry.temporary():
        convert_parts.register()
        yield convert_parts


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    check_none_left()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "c.toml").write_text(SOURCE)
    return tmp_path / "c.toml"


def records_in(folder):
    """Return the records of a conversion, by dotted name, read by other means than the writer."""
    document = read_document((folder / SIDECAR).read_bytes(), "it")
    names = [field.name for field in document.fields]
    found = []
    for shard in document.shards:
        if document.storage == "parquet":
            from feedrace_files.parquet import read_parquet

            found += read_parquet(str(folder / shard.file), document.fields)
            continue
        from array_record.python.array_record_module import ArrayRecordReader

        decode, reader = Decoder(document.fields), ArrayRecordReader(str(folder / shard.file))
        raw = [reader.read() for _ in range(reader.num_records())]
        reader.close()
        found += [dict(zip(names, decode(one), strict=True)) for one in raw]
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str | bytes):
            assert found[name] == value and type(found[name]) is type(value)
        else:
            assert found[name].dtype == value.dtype, name
            assert np.array_equal(found[name], value), name


@pytest.mark.parametrize("workers, shards", [(0, 1), (2, 3), (None, None)])
@pytest.mark.parametrize("to", ["array-record", "parquet"])
def test_what_was_converted_reads_back_equal(parts, tmp_path, config, to, workers, shards):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    report = convert(config, to, tmp_path / "out", workers=workers, shards=shards)
    assert (report.records, report.left_out, report.storage) == (60, 0, to)
    found = records_in(tmp_path / "out")
    assert len(found) == 60
    for number, one in enumerate(found):
        assert_same(one, parts.expected(number))
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("records-*")]
    assert (report.shards, report.bytes) == (len(sizes), sum(sizes))
    assert shards is None or report.shards == shards
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "out"]


def test_record_stages_apply_and_what_works_on_batches_is_named(parts, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        'stages = [{ use = "odd", value = "none" }, { use = "cast", field = "id", '
        f'dtype = "float32" }}]\n{SOURCE}'
    )
    warned = []
    with pytest.raises(DataError, match=r"field 'raw' is 'text', not bytes") as raised:
        convert(config, "array-record", tmp_path / "out", workers=0, warn=warned.append)
    assert "at record 57" in "\n".join(raised.value.__notes__)
    assert warned == ["stages[1] runs on the device, on batches: left out"]
    assert not (tmp_path / "out").exists()


def test_a_field_that_no_file_holds_is_named_before_anything_is_made(parts, tmp_path):
    (tmp_path / "c.toml").write_text(f'stages = [{{ use = "odd" }}]\n{SOURCE}')
    with pytest.raises(DataError, match="field 'raw' holds 0, which no file holds"):
        convert(tmp_path / "c.toml", "array-record", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"a.b": _LEAF, "a": {"b": _LEAF}}, r"two fields are called 'a\.b'"),
        ({"a": {"b": [_LEAF]}}, r"field 'a\.b' is a list of fields, which no file holds"),
        ({"k": LeafSpec((), jax.random.key(0).dtype)}, r"'k' has dtype key<fry>, which no file"),
    ],
)
def test_specs_that_no_file_holds_are_named_before_a_record_is_read(tmp_path, spec, message):
    class Source:
        def __len__(self):
            return 3

        def element_spec(self):
            return spec

        def fetch(self, indices):
            raise AssertionError("a record was read")

    with pytest.raises(DataError, match=message):
        convert(all_records(Source()), "array-record", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_records_that_cannot_be_read_are_left_out_and_counted(parts, tmp_path, config):
    config.write_text(f"{SOURCE}bad = [0, 7, {', '.join(map(str, range(20, 40)))}]\n")
    report = convert(config, "array-record", tmp_path / "out", workers=0, shards=3)
    # The part in the middle has no record, and no file.
    assert (report.records, report.left_out, report.shards) == (38, 22, 2)
    kept = [n for n in range(60) if n not in (0, 7) and not 20 <= n < 40]
    for number, one in zip(kept, records_in(tmp_path / "out"), strict=True):
        assert_same(one, parts.expected(number))
    config.write_text(f"{SOURCE}bad = {list(range(60))}\n")
    with pytest.raises(DataError, match="none of the 60 records can be read"):
        convert(config, "array-record", tmp_path / "other", workers=0)
    assert not (tmp_path / "other").exists()


def test_the_digest_is_that_of_the_records_not_of_workers_or_format(parts, tmp_path, config):
    pytest.importorskip("pyarrow")
    made = [
        convert(config, "array-record", tmp_path / "a", workers=0, shards=2),
        convert(config, "array-record", tmp_path / "b", workers=2, shards=2),
        convert(config, "parquet", tmp_path / "c", workers=0, shards=2),
    ]
    assert len({report.digest for report in made}) == 1


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import convert_parts
from feedrace_files.convert import convert

if __name__ == "__main__":
    convert_parts.register()
    convert(sys.argv[2], "array-record", sys.argv[3], shards=6, workers=int(sys.argv[4]))
"""


def start(tmp_path, config, workers):
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = [str(HERE), str(config), str(tmp_path / "out"), str(workers)]
    return subprocess.Popen([sys.executable, tmp_path / "program.py", *arguments])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_conversion_that_was_killed_goes_on_where_it_stopped(parts, tmp_path, workers):
    config, partial = tmp_path / "c.toml", tmp_path / "out.partial"
    stage = f'{{ use = "wait", folder = "{tmp_path}" }}'
    config.write_text(f"stages = [{stage}]\n{SOURCE}")
    process = start(tmp_path, config, workers)
    try:
        deadline = time.monotonic() + 120
        # The fourth of six shards waits for a file, and is half written.
        while not (
            len(list(partial.glob("part-0000[012].json"))) == 3
            and list(partial.glob(".records-00003*"))
        ):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="has 6 shards, not 5"):
        convert(config, "array-record", tmp_path / "out", shards=5)
    kept = {p.name: p.stat().st_ino for p in partial.glob("records-0000[012]*")}
    assert len(kept) == 3
    assert not list(partial.glob("records-00003*"))
    (tmp_path / "go").touch()
    report = convert(config, "array-record", tmp_path / "out", workers=workers)
    assert report.records == 60
    out = tmp_path / "out"
    assert {name: (out / name).stat().st_ino for name in kept} == kept  # not made again
    assert len(list(out.iterdir())) == 7  # the shards and the document
    assert not partial.exists()
    for number, one in enumerate(records_in(out)):
        assert_same(one, parts.expected(number))


def test_a_shard_that_was_cut_or_removed_meanwhile_is_made_again(parts, tmp_path, config):
    stopped = tmp_path / "out.partial"
    config.write_text(f'stages = [{{ use = "odd", value = "none" }}]\n{SOURCE}')
    with pytest.raises(DataError) as raised:
        convert(config, "array-record", tmp_path / "out", workers=0, shards=6)  # fails in the last
    assert f"5 shards are in {stopped}; the same" in "\n".join(raised.value.__notes__)
    shards = sorted(stopped.glob("records-*"))
    assert len(shards) == 5
    shards[0].unlink()
    os.truncate(shards[1], 100)
    inodes = [path.stat().st_ino for path in shards[2:]]
    with pytest.raises(DataError):
        convert(config, "array-record", tmp_path / "out", workers=0)
    assert [path.stat().st_ino for path in shards[2:]] == inodes
    assert shards[0].exists() and shards[1].stat().st_size > 100


def test_another_conversion_does_not_go_on_with_what_one_began(parts, tmp_path, config):
    config.write_text(f'stages = [{{ use = "odd", value = "none" }}]\n{SOURCE}')
    with pytest.raises(DataError):
        convert(config, "array-record", tmp_path / "out", workers=0, shards=6)
    config.write_text(SOURCE)
    with pytest.raises(DataError, match=r"out\.partial is of other data, other stages"):
        convert(config, "array-record", tmp_path / "out", workers=0)
    (tmp_path / "out.partial" / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json is damaged .* remove that folder"):
        convert(config, "array-record", tmp_path / "out", workers=0)


def test_two_conversions_into_one_folder_do_not_mix(parts, tmp_path, config):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out.partial").mkdir()
    with open(tmp_path / "out.partial" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FeedraceError, match="another process converts into"):
            convert(config, "array-record", tmp_path / "out", workers=0)
    assert convert(config, "array-record", tmp_path / "out", workers=0).records == 60


@pytest.mark.parametrize(
    "to", ["array-record", pytest.param("parquet", marks=pytest.mark.together)]
)
def test_the_source_of_the_format_gives_the_same_records(parts, tmp_path, config, to):
    if to == "parquet":
        pytest.importorskip("feedrace_arrow.sources")
    report = convert(config, to, tmp_path / "out", workers=0, shards=3)
    (tmp_path / "read.toml").write_text(report.config)
    every = load_records(tmp_path / "read.toml")
    spec = {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in leaves(every.spec)}
    assert spec == {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in leaves(parts.SPEC)}
    found = list(every.sample(np.arange(len(every))))
    assert len(found) == 60
    for number, one in enumerate(found):
        assert_same(one, parts.expected(number))
    again = convert(tmp_path / "read.toml", to, tmp_path / "again", workers=2, shards=3)
    assert again.digest == report.digest


def test_the_same_conversion_again_has_nothing_to_do(parts, tmp_path, config, monkeypatch):
    first = convert(config, "array-record", tmp_path / "out", workers=0)
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("feedrace_files.convert.WriteShard", None)
    again = convert(config, "array-record", tmp_path / "out", workers=0)
    assert again.digest == first.digest
    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == inodes


def test_other_shards_take_the_place_of_those_that_are_there(parts, tmp_path, config):
    out = tmp_path / "out"
    convert(config, "array-record", out, workers=0, shards=4)
    with pytest.raises(DataError, match=r"in other shards.*--overwrite"):
        convert(config, "array-record", out, workers=0, shards=2)
    assert convert(config, "array-record", out, workers=0).shards == 4
    assert convert(config, "array-record", out, workers=0, shards=2, overwrite=True).shards == 2
    assert len(records_in(out)) == 60


def test_a_conversion_finished_but_for_its_name_gets_it(parts, tmp_path, config, monkeypatch):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    convert(config, "array-record", out, workers=0)
    os.rename(out, partial)  # as if it had been killed right before
    (partial / "part-00000.json").write_text("{}")
    monkeypatch.setattr("feedrace_files.convert.WriteShard", None)
    convert(config, "array-record", out, workers=0)
    assert not partial.exists()
    assert not list(out.glob("part-*"))


def test_a_folder_with_other_things_in_it_is_left_alone(parts, tmp_path, config):
    out = tmp_path / "out"
    out.mkdir()
    convert(config, "array-record", out, workers=0)  # an empty one may be there
    (out / "notes.txt").write_text("mine")
    os.remove(next(out.glob("records-*")))
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"holds 'notes\.txt', which no conversion wrote"):
            convert(config, "array-record", out, workers=0, overwrite=overwrite)
    (out / "notes.txt").unlink()
    with pytest.raises(DataError, match="holds another conversion"):  # it is not whole
        convert(config, "array-record", out, workers=0)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="cannot be made or replaced"):
        convert(config, "array-record", tmp_path / "file", workers=0)
    with pytest.raises(DataError, match="is an address"):
        convert(config, "array-record", "gs://bucket/out", workers=0)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"new\.partial holds 'notes\.txt', which no conversion"):
        convert(config, "array-record", tmp_path / "new", workers=0)
    assert (tmp_path / "new.partial" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.toml",
        "file",
        "new.partial",
        "out",
    ]


def test_an_earlier_conversion_stays_until_the_new_one_is_there(parts, tmp_path, config):
    out = tmp_path / "out"
    convert(config, "array-record", out, workers=0, shards=4)
    config.write_text(f'stages = [{{ use = "odd", value = "none" }}]\n{SOURCE}')
    with pytest.raises(DataError):  # a record that does not fit
        convert(config, "array-record", out, workers=0, overwrite=True)
    assert len(records_in(out)) == 60
    config.write_text(f"{SOURCE}bad = [3]\n")
    report = convert(config, "array-record", out, workers=0, shards=2, overwrite=True)
    assert report.records == len(records_in(out)) == 59
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "out"]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["array-record", "parquet"])
def test_a_full_disk_is_an_error_and_the_next_run_finishes(parts, tmp_path, config, to):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    pytest.importorskip("resource")
    program = f"""
import resource, signal, sys
sys.path.insert(0, {str(HERE)!r})
import convert_parts
from feedrace_files.convert import convert

convert_parts.register()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
try:
    convert({str(config)!r}, {to!r}, {str(tmp_path / "out")!r}, workers=0, shards=1)
except OSError as error:
    print("error:", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("error:") and "large" in done.stdout, done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()
    assert convert(config, to, tmp_path / "out", workers=0).records == 60


def test_a_folder_that_cannot_be_made_is_an_error(parts, config):
    with pytest.raises(OSError):
        convert(config, "array-record", "/dev/null/out", workers=0)


@pytest.mark.parametrize("shards", [0, 61])
def test_a_wrong_number_of_shards_is_an_error(parts, tmp_path, config, shards):
    with pytest.raises(DataError, match="give 1 to 60"):
        convert(config, "array-record", tmp_path / "out", shards=shards)


def test_a_format_that_there_is_not_is_an_error(parts, tmp_path, config):
    with pytest.raises(ConfigError, match="to"):
        convert(config, "tar", tmp_path / "out")


def test_the_command_reports_what_it_made_and_how_to_read_it(parts, tmp_path, config):
    from feedrace.cli import main

    out = tmp_path / 'o"ut'
    config.write_text(f'stages = [{{ use = "cast", field = "id", dtype = "float32" }}]\n{SOURCE}')
    command = ["convert", str(config), "--to", "array-record", str(out), "--workers", "0"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "60 records in 1 shard, " in done.output
    # Nothing else: the progress bar is for terminals.
    assert done.stderr == "feedrace: stages[0] runs on the device, on batches: left out\n"
    import tomllib

    said = tomllib.loads(done.stdout.partition("read it with:\n")[2])
    assert said == {"source": {"use": "array-record", "path": str(out)}}
    again = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(again.stdout)["records"] == 60
    wrong = CliRunner().invoke(main, [*command[:3], "array-record", str(config)])
    assert wrong.exit_code == 2  # a file in place of a folder
    foreign = CliRunner().invoke(main, [*command[:4], str(tmp_path), "--workers", "0"])
    assert foreign.exit_code == 1
    assert "Error: " in foreign.output and "which no conversion wrote" in foreign.output


def test_what_workers_import_needs_numpy_alone():
    program = (
        "import sys, feedrace_files.writers, feedrace_files.encoding; "
        "print([m for m in ('jax', 'flax', 'tensorflow', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_beam_makes_the_same_data_set(parts, tmp_path, config):
    pytest.importorskip("apache_beam")
    here = convert(config, "array-record", tmp_path / "a", workers=0, shards=3)
    options = ["--direct_running_mode=multi_threading"]
    beam = convert(
        config,
        "array-record",
        tmp_path / "b",
        runner="DirectRunner",
        runner_options=options,
        shards=3,
    )
    assert (beam.digest, beam.records) == (here.digest, 60)
    assert not (tmp_path / "b.partial").exists()

import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import feedrace
from feedrace.errors import ConfigError, DataError, NotInstalledError
from feedrace.plugin import LeafSpec

tokenizers = pytest.importorskip("tokenizers")

TEXT = LeafSpec((), np.dtype(object))
LINES = ["def insort(a, x):", "", "Grüße, 世界 \N{GRINNING FACE}", "return heap " * 40]


def make(path, **config):
    return feedrace.create("stage", "tokenize", field="text", tokenizer=str(path), **config)


def expected(path, text, **options):
    return tokenizers.Tokenizer.from_file(str(path)).encode(text, **options).ids


@pytest.mark.parametrize("text", LINES)
def test_a_text_becomes_the_ids_of_the_tokenizer(tokenizer_json, text):
    stage = make(tokenizer_json)
    ids = stage({"text": text})["text"]
    assert ids.dtype == np.int32
    assert ids.tolist() == expected(tokenizer_json, text)
    assert (ids[0], ids[-1]) == (0, 1)
    assert stage({"text": text.encode()})["text"].tolist() == ids.tolist()
    decoded = tokenizers.Tokenizer.from_file(str(tokenizer_json)).decode(ids.tolist())
    assert decoded == text


def test_special_tokens_can_be_left_out(tokenizer_json):
    stage = make(tokenizer_json, add_special_tokens=False)
    ids = stage({"text": LINES[0]})["text"].tolist()
    assert ids == expected(tokenizer_json, LINES[0])[1:-1]
    assert stage({"text": ""})["text"].shape == (0,)


def test_a_cut_text_keeps_its_special_tokens(tokenizer_json):
    whole = expected(tokenizer_json, LINES[3])
    ids = make(tokenizer_json, max_length=9)({"text": LINES[3]})["text"].tolist()
    assert ids == [*whole[:8], 1]
    plain = make(tokenizer_json, max_length=9, add_special_tokens=False)
    assert plain({"text": LINES[3]})["text"].tolist() == whole[1:10]


def test_padding_and_truncation_of_the_file_do_not_count(tokenizer_json, tmp_path):
    """A batcher would take padding for data."""
    padded = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    padded.enable_padding(length=64)
    padded.enable_truncation(5)
    padded.save(str(tmp_path / "tokenizer.json"))
    for text in (LINES[0], LINES[3]):
        ids = make(tmp_path)({"text": text})["text"].tolist()
        assert ids == expected(tokenizer_json, text)


def test_a_folder_stands_for_the_file_in_it(tokenizer_json):
    assert make(tokenizer_json.parent)({"text": "a"})["text"].tolist() == expected(
        tokenizer_json, "a"
    )


def test_variables_in_its_path_are_expanded(tokenizer_json, monkeypatch):
    monkeypatch.setenv("TOKENIZER_FOLDER", str(tokenizer_json.parent))
    make("$TOKENIZER_FOLDER/tokenizer.json")({"text": "a"})


def test_the_spec_says_what_comes(tokenizer_json):
    stage = make(tokenizer_json, into="tokens", keep=False)
    spec = stage.spec({"text": TEXT, "label": TEXT})
    assert spec == {"label": TEXT, "tokens": LeafSpec((None,), np.dtype(np.int32))}
    assert stage({"text": "a", "label": "b"}).keys() == spec.keys()


def test_a_pickled_stage_carries_the_path_alone(tokenizer_json):
    stage = make(tokenizer_json)
    stage({"text": "a"})
    sent = pickle.dumps(stage)
    assert len(sent) < 1000
    assert pickle.loads(sent)({"text": LINES[0]})["text"].tolist() == expected(
        tokenizer_json, LINES[0]
    )


def test_threads_load_it_once_and_get_the_same_ids(tokenizer_json, monkeypatch):
    loaded, start = [], threading.Barrier(4)
    load = tokenizers.Tokenizer.from_buffer

    class Counting:
        @staticmethod
        def from_buffer(content):
            loaded.append(threading.get_ident())
            return load(content)

    monkeypatch.setattr(tokenizers, "Tokenizer", Counting)
    stage = make(tokenizer_json)
    assert loaded == []  # not before it is needed

    def work(_):
        start.wait(60)
        return [stage({"text": text})["text"].tolist() for text in LINES * 20]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert len(loaded) == 1
    monkeypatch.undo()
    assert results == [[expected(tokenizer_json, text) for text in LINES] * 20] * 4


def test_other_threads_run_while_it_tokenizes(tokenizer_json):
    stage = make(tokenizer_json)
    text = "".join(chr(0x4E00 + i * 7919 % 20000) for i in range(200_000))
    stage({"text": "a"})

    def came_in_between():
        order, began = [], threading.Event()

        def work():
            began.set()
            stage({"text": text})
            order.append("tokenized")

        thread = threading.Thread(target=work)
        thread.start()
        began.wait(60)
        order.append("another thread")
        thread.join()
        return order[0] == "another thread"

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # so that another thread comes only if Python's lock is released
    try:
        assert any(came_in_between() for _ in range(5))
    finally:
        sys.setswitchinterval(interval)


def test_its_identity_follows_the_contents_of_the_file(tokenizer_json, tmp_path):
    moved, other = tmp_path / "moved.json", tmp_path / "other.json"
    moved.write_bytes(tokenizer_json.read_bytes())
    document = json.loads(tokenizer_json.read_text())
    document["post_processor"] = None
    other.write_text(json.dumps(document))
    identity = make(tokenizer_json).identity()
    assert make(moved).identity() == identity
    assert make(other).identity() != identity


def test_a_file_that_changes_before_it_is_loaded_is_an_error(tokenizer_json, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(tokenizer_json.read_bytes())
    stage = make(path)
    path.write_bytes(tokenizer_json.read_bytes() + b"\n")
    with pytest.raises(DataError, match=r"tokenizer\.json' changed while it was in use; build"):
        stage({"text": "a"})


@pytest.mark.parametrize("name", ["none.json", "./none", "a/b/c", "~none"])
def test_a_path_that_does_not_exist_is_refused_without_asking_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"does not exist; give a tokenizer\.json, or a folder"):
        make(name)


def test_a_folder_without_the_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer: '.*/tokenizer.json' does not exist"):
        make(tmp_path)


def test_a_file_that_holds_no_tokenizer_is_refused_before_the_first_record(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": 1}')
    with pytest.raises(ConfigError, match=r"tokenizer: '.*tokenizer.json' holds no tokenizer: "):
        make(path).spec({"text": TEXT})


def test_a_pipeline_names_the_field_of_the_config_that_is_wrong(tokenizer_json):
    stage = {"use": "tokenize", "field": "text", "tokenizer": str(tokenizer_json), "max_length": 1}
    source = {"use": "memory", "data": {"text": ["a", "b"]}}
    with pytest.raises(ConfigError) as caught:
        feedrace.build({"batch_size": 2, "source": source, "stages": [stage]})
    assert [problem.path for problem in caught.value.problems] == ["stages[0].max_length"]


def test_a_length_without_room_for_text_is_refused_before_the_first_record(tokenizer_json):
    """The library does not truncate at all then."""
    with pytest.raises(ConfigError, match=r"max_length: 2 has no room .* 2 special .* 3 or more"):
        make(tokenizer_json, max_length=2).spec({"text": TEXT})
    make(tokenizer_json, max_length=3).spec({"text": TEXT})
    make(tokenizer_json, max_length=1, add_special_tokens=False).spec({"text": TEXT})


def test_a_name_on_the_hub_is_fetched_through_the_hub_s_cache(tokenizer_json, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *a: asked.append(a) or str(tokenizer_json)
    )
    stage = make("someone/some-model")
    assert asked == [("someone/some-model", "tokenizer.json")]
    again = pickle.loads(pickle.dumps(stage))  # a worker asks nobody
    assert again({"text": "a"})["text"].tolist() == expected(tokenizer_json, "a")
    assert len(asked) == 1
    assert feedrace.registry.describe("stage", stage)["tokenizer"] == "someone/some-model"


def test_a_name_that_the_hub_does_not_give_is_refused_with_the_reason(monkeypatch):
    def refuse(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    message = (
        "tokenizer: 'someone/some-model' is no file or folder here, and the hub gives no "
        "tokenizer.json: ConnectionError: no network; check the name and the network"
    )
    with pytest.raises(ConfigError, match=message):
        make("someone/some-model")


def test_without_the_library_the_error_names_what_installs_it(tokenizer_json, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.delitem(sys.modules, "tokenizers")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"needs tokenizers.*plugins/text\[tokenize\]"):
        make(tokenizer_json)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": 1}, "no field 'text'; the record has id"),
        ({"text": 3}, "'text' holds 3, which is neither str nor bytes"),
        ({"text": b"\xff"}, r"holds b'\\xff', which is not UTF-8: invalid start byte"),
        ({"text": "\ud800"}, r"holds '\\ud800', which is not UTF-8: surrogates not allowed"),
    ],
)
def test_a_record_without_text_is_an_error(tokenizer_json, record, message):
    with pytest.raises(DataError, match=f"stage tokenize: .*{message}"):
        make(tokenizer_json)(record)


def test_a_worker_imports_no_jax_for_it(tokenizer_json):
    """And the library does not warn: nothing forks."""
    program = (
        "import pickle, sys\n"
        "stage = pickle.loads(sys.stdin.buffer.read())\n"
        "print(len(stage({'text': 'a'})['text']), 'jax' in sys.modules, 'flax' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(make(tokenizer_json)),
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.decode().split() == ["3", "False", "False"]
    assert done.stderr == b""

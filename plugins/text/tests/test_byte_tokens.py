import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import feedrace
from feedrace.errors import ConfigError, DataError
from feedrace.plugin import LeafSpec

TEXT = LeafSpec((), np.dtype(object))


def make(**config):
    return feedrace.create("stage", "byte-tokens", **{"field": "text", **config})


@given(st.text(), st.integers(0, 2**31 - 256))
def test_a_text_becomes_its_utf_8_bytes_plus_the_offset(text, offset):
    ids = make(offset=offset)({"text": text})["text"]
    assert ids.dtype == np.int32
    assert ids.tolist() == [byte + offset for byte in text.encode()]


def test_bytes_are_taken_as_they_are():
    assert make()({"text": b"\xff\x00a"})["text"].tolist() == [255, 0, 97]


def test_ids_around_the_text_stay_when_it_is_cut():
    stage = make(offset=3, bos=0, eos=1, max_length=4)
    assert stage({"text": "abcdef"})["text"].tolist() == [0, 100, 101, 1]
    assert stage({"text": "a"})["text"].tolist() == [0, 100, 1]
    assert stage({"text": ""})["text"].tolist() == [0, 1]
    assert make(max_length=2)({"text": "abc"})["text"].tolist() == [97, 98]
    assert make(offset=3, bos=2)({"text": "a"})["text"].tolist() == [2, 100]


def test_other_fields_stay_and_the_record_that_came_in_is_not_changed():
    record = {"text": "a", "label": np.int32(7)}
    assert make()(record).keys() == {"text", "label"}
    assert make(into="tokens")(record).keys() == {"text", "label", "tokens"}
    made = make(into="tokens", keep=False)(record)
    assert made.keys() == {"label", "tokens"}
    assert made["label"] is record["label"]
    assert record == {"text": "a", "label": np.int32(7)}


@pytest.mark.parametrize("fields", [{}, {"into": "tokens"}, {"into": "tokens", "keep": False}])
def test_the_spec_says_what_comes(fields):
    label = LeafSpec((2,), np.dtype(np.float32))
    stage = make(**fields)
    spec = stage.spec({"text": TEXT, "label": label})
    assert spec.keys() == stage({"text": "a", "label": np.zeros(2)}).keys()
    assert spec["label"] is label
    assert spec[stage.config.into or "text"] == LeafSpec((None,), np.dtype(np.int32))


@pytest.mark.parametrize("dtype", ["U5", "S5", object])
def test_numpy_s_own_text_fits(dtype):
    value = np.array(["ab"], dtype)[0]
    assert make()({"text": value})["text"].tolist() == [97, 98]
    make().spec({"text": LeafSpec((), np.dtype(dtype))})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"label": TEXT, "id": TEXT}, "no field 'text'; the record has id, label"),
        ({"text": LeafSpec((), np.dtype(np.int32))}, "'text' is .*int32.*, which is not one text"),
        ({"text": LeafSpec((3,), np.dtype(object))}, r"'text' is object\[3\], which is not one"),
        ({"text": {"en": TEXT}}, "'text' is .*en.*, which is not one text"),
        ({"text": TEXT, "tokens": TEXT}, "have a field 'tokens' already; give `into` another"),
    ],
)
def test_records_that_do_not_fit_are_refused_by_their_spec(spec, message):
    with pytest.raises(DataError, match=f"stage byte-tokens: .*{message}"):
        make(into="tokens").spec(spec)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": 1}, "no field 'text'; the record has id"),
        ({"text": None}, "'text' holds None, which is neither str nor bytes"),
        ({"text": np.zeros(3)}, r"'text' holds array\(.*, which is neither str nor bytes"),
        ({"text": "a\ud800b"}, r"holds 'a\\ud800b', which has no UTF-8: surrogates not allowed"),
    ],
)
def test_a_record_without_text_is_an_error(record, message):
    with pytest.raises(DataError, match=f"stage byte-tokens: .*{message}"):
        make()(record)


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"bos": 97}, "bos", "97 is the id of a byte, as 0 to 255 are"),
        ({"offset": 3, "eos": 258}, "eos", "258 is the id of a byte, as 3 to 258 are"),
        ({"offset": 2**31 - 255}, "offset", "is not an int from 0 to 2147483392"),
        ({"eos": 2**31}, "eos", "is not an int from 0 to 2147483647"),
        ({"max_length": 0}, "max_length", "0 is not an int of 1"),
        ({"offset": 3, "bos": 1, "eos": 2, "max_length": 2}, "max_length", "give 3 or more"),
        ({"into": ""}, "into", "'' is not a non-empty string"),
        ({"keep": 1}, "keep", "expected 'bool', got 'int'"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(config, path, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(**config)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_ids_right_outside_those_of_bytes_are_free():
    assert make(offset=3, bos=2, eos=259)({"text": "\x00"})["text"].tolist() == [2, 3, 259]


def test_it_can_be_pickled():
    again = pickle.loads(pickle.dumps(make(offset=3)))
    assert again({"text": "a"})["text"].tolist() == [100]

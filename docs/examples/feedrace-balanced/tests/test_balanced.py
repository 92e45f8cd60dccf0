"""What the balanced sampler promises beyond the suite that every sampler passes."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feedrace
from feedrace_testing import SamplerSuite

LABELS = [0] * 20 + [1] * 5 + [2] * 2


class TestEqualShares(SamplerSuite):
    component = "balanced"
    config = {"labels": LABELS, "num_epochs": 2}
    num_records = len(LABELS)


class TestGivenShares(SamplerSuite):
    component = "balanced/balanced"
    config = {"labels": ["cat", "dog", "cat", "cat", "owl"], "shares": {"cat": 1, "dog": 2}}
    num_records = 5


def sampler(labels=LABELS, **config):
    return feedrace.create("sampler", "balanced", labels=list(labels), **config)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 10**9))
def test_every_period_has_each_label_once(labels, period):
    kinds = sorted(set(labels))
    start = period * len(kinds)
    drawn = np.array(labels)[sampler(labels).indices(start, start + len(kinds))]
    assert sorted(drawn.tolist()) == kinds


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any), st.integers(0, 10**6))
def test_every_period_has_the_given_shares(shares, period):
    made = sampler(shares={str(label): share for label, share in enumerate(shares)})
    length = sum(shares)
    drawn = np.array(LABELS)[made.indices(period * length, (period + 1) * length)]
    assert np.bincount(drawn, minlength=3).tolist() == shares


def test_every_record_of_a_label_comes_once_before_any_comes_again():
    drawn = sampler().indices(0, 3 * 20).tolist()
    of_label = collections.defaultdict(list)
    for record in drawn:
        of_label[LABELS[record]].append(record)
    assert sorted(of_label[0]) == list(range(20))
    for i in range(0, 20, 5):
        assert sorted(of_label[1][i : i + 5]) == list(range(20, 25))
    assert of_label[1][:5] != of_label[1][5:10]


def config(**sampler):
    rng = np.random.default_rng(0)
    labels = rng.choice([3, 5, 8], p=[0.9, 0.07, 0.03], size=500).astype(np.int32)
    return {
        "batch_size": 30,
        "source": {"use": "memory", "data": {"x": np.arange(500), "label": labels}},
        "sampler": {"use": "balanced", **sampler},
    }


def test_labels_come_from_the_source_of_a_pipeline():
    for batch in feedrace.build(config(epoch_size=300)):
        assert np.bincount(batch["label"])[[3, 5, 8]].tolist() == [10, 10, 10]


def test_a_stopped_run_resumes_with_the_same_records():
    whole = [batch["x"].tolist() for batch in feedrace.build(config(num_epochs=2))]
    first = feedrace.build(config(num_epochs=2))
    batches = iter(first)
    taken = [next(batches)["x"].tolist() for _ in range(20)]
    state = json.loads(json.dumps(first.get_state()))
    resumed = feedrace.build(config(num_epochs=2))
    resumed.set_state(state)
    assert taken + [batch["x"].tolist() for batch in resumed] == whole


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"label": "lable"}, "sampler", "no field 'lable'; they have label, x"),
        ({"shares": {"3": 1, "4": 1}}, "sampler.shares.4", "no record has this label"),
        ({"shares": {"3": -1}}, "sampler.shares.3", "-1 is not an int of 0 or more"),
        ({"shares": {"3": 0}}, "sampler.shares", "add up to 0"),
        ({"shares": {}}, "sampler.shares", "is not a table"),
        ({"shares": {"3": 70000, "5": 1}}, "sampler.shares", "add up to 70001"),
        ({"labels": [1, 2]}, "sampler.labels", "2 labels do not match 500 records"),
        ({"epoch_size": 0}, "sampler.epoch_size", "0 is not an int of 1 or more"),
    ],
)
def test_problems_are_reported_at_their_paths(fields, path, message):
    with pytest.raises(feedrace.errors.ConfigError) as caught:
        feedrace.build(config(**fields))
    assert [problem.path for problem in caught.value.problems] == [path]
    assert message in str(caught.value)


def test_labels_other_than_single_ints_or_strings_are_refused():
    wrong = config()
    wrong["source"]["data"]["label"] = np.zeros((500, 2))
    with pytest.raises(feedrace.errors.ConfigError, match="each record needs one int or string"):
        feedrace.build(wrong)


def test_indices_without_labels_or_a_source_are_refused():
    made = feedrace.create("sampler", "balanced", num_records=4)
    with pytest.raises(feedrace.errors.ConfigError, match="no source has been attached"):
        made.indices(0, 1)


def test_the_config_of_the_readme_runs():
    pipeline = feedrace.load(Path(__file__).parents[1] / "balanced.toml")
    counts = collections.Counter()
    for batch in pipeline:
        counts.update(np.asarray(batch["label"])[np.asarray(batch["valid_mask"])].tolist())
    assert counts == {0: 4, 1: 8}

import itertools
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import create
from feedrace.errors import ConfigError, DataError, StateError
from feedrace_interleave import InterleavedSampler, InterleavedSamplerConfig, SamplerIntervalConfig

INTERVALS = ["every_n_epochs", "every_n_updates", "every_n_samples"]
RUNS = json.loads(Path(__file__).with_name("recorded_runs.json").read_text())


def sampler(length, config, callbacks=(), make=range):
    intervals = [
        SamplerIntervalConfig(
            sampler=make(c["length"]), **{k: v for k, v in c.items() if k != "length"}
        )
        for c in callbacks
    ]
    return InterleavedSampler(
        make(length), InterleavedSamplerConfig(**config), callback_samplers=intervals
    )


def sequential(length):
    return create("sampler", "sequential", num_records=length)


@pytest.mark.parametrize("make", [range, sequential], ids=["iterable", "feedrace"])
def test_all_recorded_runs_of_the_reference_are_equalled(make):
    for run in RUNS:
        made = sampler(run["train_length"], run["config"], run["callbacks"], make)
        assert [[int(full), index] for full, index in made] == run["expected"], run
        assert [[int(full), index] for full, index in made] == run["expected"], "a second time"


@st.composite
def schedules(draw):
    length = draw(st.integers(1, 12))
    drop = draw(st.booleans())
    size = draw(st.integers(1, min(length, 5) if drop else 5))
    callbacks = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "length": st.integers(1, 6),
                    "batch_size": st.integers(1, 4),
                    "every": st.sampled_from(
                        ["every_n_epochs", "every_n_updates", "every_n_samples"]
                    ),
                    "n": st.integers(1, 7),
                }
            ),
            max_size=3,
        )
    )
    callbacks = [
        {"length": c["length"], "batch_size": c["batch_size"], c["every"]: c["n"]}
        for c in callbacks
    ]
    limit = draw(st.sampled_from(["max_epochs", "max_updates", "max_samples"]))
    config = {"batch_size": size, "drop_last": drop, limit: draw(st.integers(1, 15))}
    return length, config, callbacks


def places_of(pairs, length):
    """Return for each pair how many train indices and whole train batches came before it."""
    samples = updates = 0
    places = []
    for full, index in pairs:
        places.append((samples, updates))
        samples += index < length
        updates += full and index < length
    return places


def tail(pairs, length, samples=0, updates=0):
    """Return the pairs from the first train index on that has so much before it."""
    places = places_of(pairs, length)
    return next(
        pairs[i:]
        for i, (_, index) in enumerate(pairs)
        if index < length and places[i][0] >= samples and places[i][1] >= updates
    )


@given(schedules(), st.data())
def test_a_start_is_the_tail_of_the_uninterrupted_run(given_schedule, data):
    length, config, callbacks = given_schedule
    whole = list(sampler(length, config, callbacks))
    trained = [
        place for place, (_, x) in zip(places_of(whole, length), whole, strict=True) if x < length
    ]
    sample = data.draw(st.integers(0, trained[-1][0]))
    made = sampler(length, {**config, "start_sample": sample}, callbacks)
    assert list(made) == tail(whole, length, samples=sample)
    update = data.draw(st.integers(0, trained[-1][1]))
    made = sampler(length, {**config, "start_update": update}, callbacks)
    assert list(made) == tail(whole, length, updates=update)


@given(schedules(), st.data())
def test_a_start_at_an_epoch_without_drop_last_is_the_tail_too(given_schedule, data):
    length, config, callbacks = given_schedule
    config["drop_last"] = False
    whole = list(sampler(length, config, callbacks))
    samples = sum(index < length for _, index in whole)
    start = data.draw(st.integers(0, -(-samples // length) - 1))
    made = sampler(length, {**config, "start_epoch": start}, callbacks)
    assert list(made) == tail(whole, length, samples=start * length)


@given(schedules())
def test_state_at_every_pair_continues_exactly(given_schedule):
    length, config, callbacks = given_schedule
    made = sampler(length, config, callbacks)
    whole = list(sampler(length, config, callbacks))
    iterator = iter(made)
    for taken in range(len(whole) + 1):
        other = sampler(length, config, callbacks)
        other.set_state(json.loads(json.dumps(made.get_state())))
        assert list(other) == whole[taken:], taken
        assert list(other) == whole  # the next iteration begins at the config's start
        next(iterator, None)


def test_state_continues_in_an_evaluation_only_run():
    def make():
        callbacks = [{"length": 3, "every_n_epochs": 1}, {"length": 5, "every_n_updates": 9}]
        return sampler(7, {"batch_size": 2, "max_epochs": 1, "evaluation": True}, callbacks)

    whole = list(make())
    assert [index for _, index in whole] == list(range(7, 15))
    made = make()
    iterator = iter(made)
    for taken in range(len(whole) + 1):
        other = make()
        other.set_state(made.get_state())
        assert list(other) == whole[taken:]
        next(iterator, None)


def test_a_far_start_reads_nothing_before_it():
    class Counting:
        records_per_epoch = 10**6
        asked = 0

        def __len__(self):
            return 10**6

        def indices(self, start, stop):
            Counting.asked += stop - start
            return [i % 10**6 for i in range(start, stop)]

    made = InterleavedSampler(
        Counting(),
        InterleavedSamplerConfig(batch_size=128, max_updates=10**7, start_update=7 * 10**6),
    )
    first = list(itertools.islice(made, 3))
    per_epoch = 10**6 // 128
    assert first[0] == (False, 7 * 10**6 % per_epoch * 128)
    assert Counting.asked < 100_000  # of seven million updates of 128


class Shuffled:
    """A sampler with `set_epoch`, as torch's distributed sampler."""

    def __init__(self, length):
        self.length, self.epoch, self.epochs = length, -1, []

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.epochs.append(epoch)

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(random.Random(self.epoch).sample(range(self.length), self.length))


def test_set_epoch_of_a_sampler_is_called_each_epoch_and_can_start_inside_one():
    config = {"batch_size": 3, "drop_last": False, "max_epochs": 3}
    made = sampler(10, config, make=Shuffled)
    whole = list(made)
    assert made.main_sampler.epochs == [0, 1, 2]
    assert sorted(i for _, i in whole[:10]) == list(range(10))
    assert list(sampler(10, {**config, "start_sample": 14}, make=Shuffled)) == whole[14:]


def test_it_has_the_attributes_of_the_interface():
    callbacks = [{"length": 3, "every_n_epochs": 1}, {"length": 5, "every_n_epochs": 1}]
    made = sampler(10, {"batch_size": 4, "max_epochs": 1}, callbacks)
    assert made.config.batch_size == made.batch_size == 4
    assert made.main_sampler == range(10)
    assert [c.sampler for c in made.extra_samplers] == [range(3), range(5)]
    assert made.index_offsets == [10, 13]
    assert len(made.dataset) == 18
    assert made.dataset[11] == (1, 1)
    assert list(made.batch_sampler) == [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12],
                                        [13, 14, 15, 16], [17]]  # fmt: skip
    with pytest.raises(IndexError):
        made.dataset[18]


@pytest.mark.parametrize(
    ("train", "offset"),
    [
        ([7, 8, 9], 10),
        (create("sampler", "sequential", num_records=9), 9),
        (Shuffled(5), 5),
    ],
)
def test_offsets_come_after_all_indices_of_the_train_sampler(train, offset):
    config = InterleavedSamplerConfig(batch_size=2, drop_last=False, max_epochs=1)
    interval = SamplerIntervalConfig(sampler=range(3), every_n_epochs=1)
    made = InterleavedSampler(train, config, callback_samplers=[interval])
    assert made.index_offsets == [offset]
    assert [i for _, i in made][-3:] == [offset, offset + 1, offset + 2]


def test_an_evaluation_alone_takes_no_notice_of_a_start():
    callbacks = [{"length": 3, "every_n_epochs": 1}]
    for start in ({"start_sample": 1}, {"start_update": 2}, {"start_epoch": 1}):
        config = {"batch_size": 2, "drop_last": False, "max_epochs": 3, "evaluation": True}
        assert [i for _, i in sampler(7, {**config, **start}, callbacks)] == [7, 8, 9]


def test_a_run_of_nothing_has_a_state_too():
    made = sampler(5, {"batch_size": 2, "max_epochs": 0})
    made.set_state(made.get_state())
    assert list(made) == []
    with pytest.raises(StateError):
        made.set_state({**made.get_state(), "update": 0, "callback": 0, "batch": 0})


def test_a_sampler_learns_of_its_completed_epochs():
    epochs = []
    train = sequential(4)
    train.epoch_completed = epochs.append
    config = InterleavedSamplerConfig(batch_size=2, max_epochs=2)
    assert len(list(InterleavedSampler(train, config))) == 8
    assert epochs == [0, 1]


def test_each_dataset_has_its_own_collator():
    made = InterleavedSampler(
        range(4),
        InterleavedSamplerConfig(batch_size=2, max_epochs=1),
        train_collator=sum,
        callback_samplers=[SamplerIntervalConfig(sampler=range(3), every_n_epochs=1, pipeline=max)],
    )
    batches = [made.collator([made.dataset[i] for i in batch]) for batch in made.batch_sampler]
    assert batches == [1, 5, 1, 2]
    with pytest.raises(DataError, match="datasets"):
        made.collator([made.dataset[0], made.dataset[5]])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (0, 0, 0)),
        ({"start_epoch": 2}, (2, 6, 18)),
        ({"start_epoch": 2, "drop_last": False}, (2, 8, 20)),
        ({"start_update": 7}, (2, 7, 21)),
        ({"start_update": 7, "drop_last": False}, (1, 7, 19)),
        ({"start_sample": 13, "drop_last": False}, (1, 5, 13)),
        ({"start_epoch": 3, "batch_size": 11}, (3, 0, 0)),
    ],
)
def test_calculate_start(config, expected):
    made = InterleavedSamplerConfig(**{"batch_size": 3, "max_epochs": 9, **config})
    assert InterleavedSampler.calculate_start(made, 10) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no limit; at least one of max_epochs, max_updates, max_samples"),
        ({"max_epochs": -1}, "max_epochs: -1 is not an int of 0 or more"),
        ({"max_epochs": 1, "batch_size": 0}, "batch_size: 0"),
        ({"max_epochs": 1, "start_epoch": 0, "start_update": 1}, "at most one of .*start_update"),
        ({"max_epochs": 1, "start_sample": -1}, "start_sample: -1"),
        ({"max_epochs": 1, "start_update": 4}, "start_update: 4 is not before the end.* update 4"),
        ({"max_epochs": 1, "start_sample": 10}, "start_sample: 10 is not before the end"),
        ({"max_epochs": 1, "start_epoch": 1}, "start_epoch: 1 is not before the end"),
    ],
)
def test_a_wrong_config_is_named_with_its_rule(config, message):
    with pytest.raises(ConfigError, match=message):
        sampler(10, {"batch_size": 3, "drop_last": False, **config})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of .*given: none"),
        ({"every_n_epochs": 1, "every_n_updates": 1}, "given: every_n_epochs and every_n_updates"),
        ({"every_n_samples": 5}, "batch_size: missing; every_n_samples needs it"),
        ({"every_n_updates": 0}, "every_n_updates: 0"),
        ({"every_n_epochs": 1, "batch_size": -2}, "batch_size: -2"),
    ],
)
def test_a_wrong_interval_is_named_with_its_rule(fields, message):
    with pytest.raises(ConfigError, match=message):
        SamplerIntervalConfig(sampler=range(3), **fields)


def test_an_empty_sampler_is_named():
    config = {"batch_size": 2, "max_epochs": 1}
    with pytest.raises(ConfigError, match="train_sampler: is empty"):
        sampler(0, config)
    with pytest.raises(ConfigError, match=r"callback_samplers\[0\]: is empty"):
        sampler(4, config, [{"length": 0, "every_n_epochs": 1}])


def test_a_sampler_shorter_than_its_len_is_named():
    class Liar:
        def __len__(self):
            return 5

        def __iter__(self):
            return iter(range(3))

    made = InterleavedSampler(Liar(), InterleavedSamplerConfig(batch_size=5, max_epochs=1))
    with pytest.raises(DataError, match="Liar ended after 3 indices of the 5"):
        list(made)


@pytest.mark.parametrize(
    "state", [{}, {"update": -1}, {"update": 99}, {"update": 1, "more": 2}, {"update": "1"},
              {"pass": 0, "update": 1, "callback": 7, "batch": 0}, {"update": 1, "taken": 50}]
)  # fmt: skip
def test_a_state_of_no_place_is_refused(state):
    made = sampler(10, {"batch_size": 3, "max_epochs": 1}, [{"length": 2, "every_n_epochs": 1}])
    before = made.get_state()
    with pytest.raises(StateError):
        made.set_state({**state, "config": before["config"]})
    assert made.get_state() == before
    with pytest.raises(TypeError, match="is a dict"):
        made.set_state([1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_real_data_loader_serves_all_streams(workers):
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from torch.utils.data import RandomSampler, SequentialSampler, TensorDataset

    train, test = TensorDataset(torch.arange(10)), TensorDataset(torch.arange(100, 105))
    made = InterleavedSampler(
        RandomSampler(train),
        InterleavedSamplerConfig(batch_size=4, drop_last=False, max_epochs=2),
        callback_samplers=[
            SamplerIntervalConfig(sampler=SequentialSampler(test), every_n_epochs=1, batch_size=3)
        ],
    )
    assert made.dataset.datasets == [train, test]
    batches = [batch[0].tolist() for batch in made.get_data_loader(num_workers=workers)]
    assert [len(b) for b in batches] == [4, 4, 2, 3, 2] * 2
    for epoch in (batches[:5], batches[5:]):
        assert sorted(itertools.chain(*epoch[:3])) == list(range(10))
        assert epoch[3:] == [[100, 101, 102], [103, 104]]


def test_a_subset_sampler_of_torch_is_iterated():
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from torch.utils.data import SubsetRandomSampler

    config = InterleavedSamplerConfig(batch_size=2, drop_last=False, max_epochs=1)
    made = InterleavedSampler(SubsetRandomSampler([1, 3, 5]), config)
    assert sorted(index for _, index in made) == [1, 3, 5]


def test_a_dataset_may_be_set_on_a_sampler_of_feedrace():
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from torch.utils.data import TensorDataset

    train = sequential(4)
    train.data_source = TensorDataset(torch.arange(100, 104))
    config = InterleavedSamplerConfig(batch_size=2, max_epochs=1)
    loader = InterleavedSampler(train, config).get_data_loader()
    assert [batch[0].tolist() for batch in loader] == [[100, 101], [102, 103]]


def test_samplers_of_feedrace_serve_a_data_loader():
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    made = sampler(6, {"batch_size": 2, "max_epochs": 1}, make=sequential)
    loader = made.get_data_loader()
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]


def test_an_interval_takes_its_fields_by_position_too():
    every_epoch = SamplerIntervalConfig(range(3), list, 1)
    assert (every_epoch.pipeline, every_epoch.every_n_epochs) == (list, 1)
    by_samples = SamplerIntervalConfig(range(3), None, None, None, 5, 2)
    assert (by_samples.every_n_samples, by_samples.batch_size) == (5, 2)


def test_the_documented_validators_can_be_called():
    interval = SamplerIntervalConfig(range(3), every_n_epochs=1)
    assert interval.validate_frequency() is interval
    assert [SamplerIntervalConfig.check_positive_values(v) for v in (None, 1)] == [None, 1]
    with pytest.raises(ConfigError, match="value: 0 is not an int of 1 or more"):
        SamplerIntervalConfig.check_positive_values(0)
    config = InterleavedSamplerConfig(batch_size=2, max_epochs=1)
    assert config.validate_stop() is config.validate_start() is config
    assert [InterleavedSamplerConfig.check_positive_values(v) for v in (None, 0)] == [None, 0]
    with pytest.raises(ConfigError, match="value: -1 is not an int of 0 or more"):
        InterleavedSamplerConfig.check_positive_values(-1)


def test_a_subclass_may_widen_a_documented_validator():
    class Endless(InterleavedSamplerConfig):
        def validate_stop(self):
            return self

    assert Endless(batch_size=2).max_epochs is None
    with pytest.raises(ConfigError, match=r"no limit(.|\n)*at most one of"):
        InterleavedSamplerConfig(batch_size=2, start_epoch=0, start_update=1)


@pytest.mark.parametrize(
    ("length", "config", "callback", "message"),
    [
        (11, {}, {}, "train_sampler: 10 -> 11"),
        (10, {"batch_size": 2}, {}, "batch_size: 3 -> 2"),
        (10, {"max_epochs": 3}, {}, "max_epochs: 2 -> 3"),
        (10, {}, {"every_n_epochs": 2}, r"callback_samplers: .* -> \[\[4, 2, 'epochs', 3\]\]"),
    ],
)
def test_the_state_of_a_sampler_with_another_config_is_refused(length, config, callback, message):
    def make(length, config, callback):
        config = {"batch_size": 3, "max_epochs": 2, **config}
        return sampler(length, config, [{"length": 4, "every_n_epochs": 1, **callback}])

    made, other = make(10, {}, {}), make(length, config, callback)
    next(iter(made))
    before = other.get_state()
    with pytest.raises(StateError, match=message):
        other.set_state(json.loads(json.dumps(made.get_state())))
    with pytest.raises(StateError, match="no config"):
        other.set_state({"update": 1})
    assert other.get_state() == before

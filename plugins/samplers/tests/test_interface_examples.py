"""The code examples of the samplers' and batchers' interface documents, imports apart."""

import jax
import pytest
from attrs import define as dataclass
from flax import nnx

from feedrace.plugin import BatcherModule, SamplerModule, StructuralConfig
from feedrace_samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule


def test_the_sequential_sampler_of_the_protocol_page():
    class SequentialSamplerConfig(StructuralConfig):
        num_records: int = 100
        num_epochs: int = 1

    SequentialSamplerConfig = dataclass(frozen=True)(SequentialSamplerConfig)

    class SequentialSamplerModule(SamplerModule):
        def process(self, dataset_size):
            return list(range(min(self.config.num_records, dataset_size)))

        def __iter__(self):
            yield from self.process(100)

    config = SequentialSamplerConfig(stochastic=False, num_records=10)
    sampler = SequentialSamplerModule(config, rngs=nnx.Rngs(0))
    assert list(sampler) == sampler(100) == list(range(10))
    assert sampler.process(3) == [0, 1, 2]


def test_the_stochastic_sampler_of_the_process_example():
    class RandomConfig(StructuralConfig):
        num_samples: int = 5
        replacement: bool = False

    RandomConfig = dataclass(frozen=True)(RandomConfig)

    class RandomSampler(SamplerModule):
        def process(self, dataset_size: int) -> list[int]:
            rng = self.rngs[self.config.stream_name]()
            indices = jax.random.choice(
                rng,
                dataset_size,
                shape=(self.config.num_samples,),
                replace=self.config.replacement,
            )
            return indices.tolist()

    config = RandomConfig(stochastic=True, stream_name="sample")
    sampler = RandomSampler(config, rngs=nnx.Rngs(sample=0))
    assert len(set(sampler(20))) == 5
    with pytest.raises(ValueError, match="needs rngs"):
        RandomSampler(config)


def test_the_batcher_of_the_protocol_page():
    class DefaultBatcherConfig(StructuralConfig):
        pass

    class DefaultBatcher(BatcherModule):
        def process(self, elements, batch_size, drop_remainder=False):
            return []

    config = DefaultBatcherConfig(stochastic=False)
    batcher = DefaultBatcher(config, rngs=nnx.Rngs(0))
    assert list(batcher([], batch_size=32)) == []


def test_a_subclass_overrides_indices_and_nothing_else():
    class Evens(EpochAwareSamplerModule):
        def indices(self, start, stop):
            return super().indices(start, stop) * 2

    made = Evens(EpochAwareSamplerConfig(num_records=5, num_epochs=2))
    completed = []
    made.add_epoch_callback(completed.append)
    first = list(made)
    assert sorted(first[:5]) == [0, 2, 4, 6, 8]
    assert completed == [0, 1]
    assert made.sample(3) == list(made.indices(10, 13))

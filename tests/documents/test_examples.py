"""The code examples of the interface documents, as they are written but for imports and names."""

from dataclasses import dataclass

import jax
import pytest
from flax import nnx

from feedrace.plugin import BatcherModule, SamplerModule, StructuralConfig, StructuralModule
from feedrace_interleave import InterleavedSampler, InterleavedSamplerConfig, SamplerIntervalConfig
from feedrace_samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule


def test_the_sequential_sampler_of_the_protocol():
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
    assert list(sampler) == sampler(100) == sampler.sample(100) == list(range(10))
    assert sampler.process(3) == [0, 1, 2]
    assert (config.num_epochs, SequentialSamplerConfig.num_records) == (1, 100)


@dataclass(frozen=True)
class SamplingConfig(StructuralConfig):
    num_samples: int = 5
    replacement: bool = False


def test_the_deterministic_sampler_of_process():
    class Sampler(StructuralModule):
        def process(self, dataset_size: int) -> list[int]:
            return list(range(min(self.config.num_samples, dataset_size)))

    assert Sampler(SamplingConfig())(3) == [0, 1, 2]


def test_the_stochastic_sampler_of_process():
    class RandomSampler(SamplerModule):
        def process(self, dataset_size: int) -> list[int]:
            rng = self.rngs[self.config.stream_name]()
            indices = jax.random.choice(
                rng, dataset_size, shape=(self.config.num_samples,),
                replace=self.config.replacement
            )  # fmt: skip
            return indices.tolist()

    config = SamplingConfig(stochastic=True, stream_name="sample")
    sampler = RandomSampler(config, rngs=nnx.Rngs(sample=0))
    assert len(set(sampler(20))) == 5
    with pytest.raises(ValueError, match="needs rngs"):
        RandomSampler(config)
    with pytest.raises(ValueError, match="RNG streams"):
        sampler.ensure_rng_streams(["other"])


def test_the_copies_of_the_documents():
    module = EpochAwareSamplerModule(EpochAwareSamplerConfig(num_records=10, seed=3), name="old")
    new_config = EpochAwareSamplerConfig(cacheable=False, num_records=12)
    new_module = module.copy(config=new_config)
    assert (new_module.config, new_module.name) == (new_config, "old")
    renamed = module.copy(name="new_name")
    assert (renamed.name, renamed.config, module.name) == ("new_name", module.config, "old")
    assert module.copy(rngs=nnx.Rngs(1)).rngs is not None
    assert module.clone().sample(4) == module.sample(4)


def test_the_batcher_of_the_protocol():
    class DefaultBatcherConfig(StructuralConfig):
        pass

    class DefaultBatcher(BatcherModule):
        def process(self, elements, batch_size, drop_remainder=False):
            # In a real implementation, this would yield actual batches
            return []

    config = DefaultBatcherConfig(stochastic=False)
    batcher = DefaultBatcher(config, rngs=nnx.Rngs(0))
    assert list(batcher([], batch_size=32)) == []  # Call the batcher instance


def test_the_batcher_of_process():
    @dataclass(frozen=True)
    class Config(StructuralConfig):
        batch_size: int = 2

    class Batcher(BatcherModule):
        def process(self, elements):
            batches = []
            for i in range(0, len(elements), self.config.batch_size):
                batch_elements = elements[i : i + self.config.batch_size]
                batches.append(tuple(batch_elements))
            return batches

    assert Batcher(Config())(list("abc")) == [("a", "b"), ("c",)]


def test_a_test_set_after_each_epoch_of_training():
    shuffled = EpochAwareSamplerModule(EpochAwareSamplerConfig(num_records=100))
    made = InterleavedSampler(
        shuffled,
        InterleavedSamplerConfig(batch_size=10, max_epochs=2),
        callback_samplers=[SamplerIntervalConfig(range(10), None, every_n_epochs=1)],
    )
    indices = [index for _, index in made]
    assert len(indices) == 220
    for epoch in (indices[:110], indices[110:]):
        assert sorted(epoch[:100]) == list(range(100))
        assert epoch[100:] == list(range(100, 110))
    assert indices[:100] != indices[110:210]

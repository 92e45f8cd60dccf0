"""Decoding by TensorFlow: a pure function of a batch of raw records."""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import tensorflow_datasets as tfds

from feedrace.plugin import Arrays, DataError, Failure, Layout, Raw, install_line, set_at
from feedrace_tfds.features import Kept, feature_at, is_image
from feedrace_tfds.tensorflow_runtime import import_tensorflow


@attrs.frozen(eq=False)
class TensorFlowDecoder:
    """Decodes raw records of one dataset into arrays, by a tf.data graph without state."""

    layout: Layout
    _kept: Kept
    _threads: int
    _tensorflow: Any
    _function: Any

    way = "with TensorFlow"

    def __reduce__(self) -> Any:
        return make_tensorflow_decoder, (self._kept, self.layout, self._threads)

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        readable: dict[int, bytes] = {}
        failures: list[Failure] = []
        for slot, record in records:
            if isinstance(record, bytes):
                readable[slot] = record
            else:
                failures.append((slot, DataError(record.reason)))
        readable = dict(sorted(readable.items()))
        try:
            self._store(self._decoded(list(readable.values())), arrays, list(readable))
        except (self._tensorflow.errors.OpError, ValueError):
            for slot, record in readable.items():  # one by one, to learn which
                try:
                    self._store(self._decoded([record]), arrays, [slot])
                except (self._tensorflow.errors.OpError, ValueError) as error:
                    failures.append((slot, error.with_traceback(None)))
        return failures

    def _decoded(self, raw: Sequence[bytes]) -> Any:
        if not raw:
            return None
        return self._function(self._tensorflow.constant(raw, self._tensorflow.string))

    def _store(self, decoded: Any, arrays: Arrays, slots: Sequence[int]) -> None:
        if decoded is None:
            return
        for i, leaf in enumerate(self.layout.leaves):
            values = decoded[i][0].numpy()
            if None not in leaf.shape:
                if slots == list(range(len(arrays.values[i]))):
                    arrays.values[i] = values  # without a copy
                else:
                    arrays.values[i][slots] = values
                continue
            shapes = decoded[i][1].numpy()
            for row, slot in enumerate(slots):
                value = values[row][tuple(map(slice, shapes[row].tolist()))]
                leaf.put(arrays.values[i], arrays.lengths[i], slot, value)


def make_tensorflow_decoder(kept: Kept, layout: Layout, threads: int) -> TensorFlowDecoder:
    """Return a decoder of these features that runs `threads` records at a time.

    Raises `DataError` if TensorFlow is not installed.
    """
    try:
        tf = import_tensorflow(threads)
    except ImportError as error:
        raise DataError(
            f"decoder = 'tensorflow' needs TensorFlow: {install_line('tfds')} ({error})"
        ) from error

    as_stored: dict[str, Any] = {}
    for leaf in layout.leaves:
        if is_image(feature_at(kept.features, leaf.source)[0]) and leaf.dtype == object:
            set_at(as_stored, leaf.source, tfds.decode.SkipDecoding())

    def one(raw: Any) -> Any:
        record = kept.features.deserialize_example(raw, decoders=as_stored)
        outputs = []
        for leaf in layout.leaves:
            value = record
            for key in leaf.source:
                value = value[key]
            if isinstance(value, tf.RaggedTensor):
                value = value.to_tensor()
            outputs.append((value, tf.shape(value)) if None in leaf.shape else (value,))
        return tuple(outputs)

    varying = any(None in leaf.shape for leaf in layout.leaves)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
    def decode(raw: Any) -> Any:
        records = tf.data.Dataset.from_tensor_slices(raw)
        records = records.map(one, num_parallel_calls=threads, deterministic=True)
        count = tf.size(raw, tf.int64)
        batch = records.padded_batch(count) if varying else records.batch(count)
        return batch.get_single_element()

    return TensorFlowDecoder(layout, kept, threads, tf, decode)

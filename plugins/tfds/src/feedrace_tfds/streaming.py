"""The source that reads records as they are asked for."""

from flax import nnx

from feedrace.plugin import FileSource, TolerantReader
from feedrace_tfds.config import TFDSStreamingConfig
from feedrace_tfds.split_source import SplitSource


class TFDSStreamingSource(SplitSource, FileSource):
    """A TFDS split of any size, read and decoded by record number; nothing is kept in memory.

    Every record has a number, so that any order is as resumable as the stored one: its own order is
    a function of seed, epoch and position.
    """

    def __init__(
        self, config: TFDSStreamingConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._blocks_ahead = config.prefetch_buffer

    def reader(self) -> TolerantReader | None:
        """Return the part that reads: it needs neither JAX nor TFDS, and can be pickled.

        TFDS and TensorFlow are imported where it is unpickled if TensorFlow decodes. 64-bit numbers
        are converted as JAX's x64 mode is now. None for files that are read in the stored order:
        readers at work together would read the same files again and again.
        """
        return super().reader() if self._concurrent else None

"""Records that any object gives by number."""

import hashlib
from typing import Any

import attrs
import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.builtin.config import RecordsSourceConfig
from feedrace.device.specs import arriving_dtype
from feedrace.host.elements import ElementReader, read_spec
from feedrace.host.records import map_leaves
from feedrace.host.stages import spec_text
from feedrace.modules.source import SourceModule
from feedrace.protocols import Identified, provides


class RecordsSource(SourceModule):
    """The records of `config.data`: an object with `__len__` and `__getitem__`.

    The first records are read when it is made, and show the spec: an axis in which they differ is
    None, and dtypes that differ become one that holds all of them. Every other record is checked
    against it. Records are copied, so the object may use its arrays again.

    Raises `DataError` if there are no records, or one does not fit.
    """

    def __init__(
        self, config: RecordsSourceConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self.length = len(config.data)
        reader = ElementReader(
            data=config.data,
            length=self.length,
            names=config.names,
            thread_safe=config.thread_safe,
        )
        spec = read_spec(reader, config.spec_records, arriving_dtype)
        self._reader: ElementReader = nnx.static(attrs.evolve(reader, spec=spec))

    def element_spec(self) -> Any:
        return map_leaves(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.arriving), self._reader.spec
        )

    def fetch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return self._reader.fetch(np.asarray(indices, np.int64))

    def reader(self) -> ElementReader:
        """Return what workers hold: the object and the spec."""
        return self._reader

    def identity(self) -> str:
        """Return the object's own identity, or the number of records and a digest of the spec."""
        if provides(self.config.data, Identified):
            return str(self.config.data.identity())
        digest = hashlib.blake2b(spec_text(self._reader.spec).encode(), digest_size=8)
        return f"{self.length}-{digest.hexdigest()}"

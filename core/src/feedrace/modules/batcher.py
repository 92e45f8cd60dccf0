"""The base class of batchers."""

from typing import Any

from feedrace.device import specs
from feedrace.host.records import check_batch_size
from feedrace.modules.module import StructuralModule


class BatcherModule(StructuralModule):
    """A batcher; subclasses define `process`.

    row_wise: whether row i of a batch is record i, stacked and padded as `pad_batch` does and no
        more. Batches can then be gathered on the device, and each host reads only its own rows.
    """

    _repeatable = False
    row_wise = False

    def process(
        self,
        elements: Any,
        *args: Any,
        batch_size: int,
        drop_remainder: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return an iterable of batches of `batch_size` elements.

        Raises `ConfigError` for a batch size below 1.
        """
        check_batch_size(batch_size)
        raise NotImplementedError(f"{type(self).__name__} must define process")

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch: a leading `(batch_size,)` on each leaf, and `valid_mask`."""
        return specs.batch_spec(element_spec, batch_size=batch_size)

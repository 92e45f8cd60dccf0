"""The stage that takes the bytes of a text as its tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Configured, DataError, clipped
from feedrace_text.config import ByteTokensConfig
from feedrace_text.fields import spec_with_ids, text_of, with_ids

_NAME = "byte-tokens"


class ByteTokens(Configured):
    """Turns a field of text into int32 ids: each UTF-8 byte plus the offset, with bos and eos.

    Bytes are taken as they are, in whatever encoding. `max_length` may cut a character of several
    bytes. Any number of threads may call it.
    """

    on = "record"

    def __init__(self, config: ByteTokensConfig) -> None:
        self.config = config

    def spec(self, element_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec with ids of shape (None,); raise `DataError` if a field does not fit."""
        return spec_with_ids(_NAME, self.config, element_spec)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with ids; raise `DataError` if its field holds no text."""
        text = text_of(_NAME, self.config, record)
        try:
            data = text.encode() if isinstance(text, str) else text
        except UnicodeEncodeError as error:
            message = f"field {self.config.field!r} holds {clipped(text)}, which has no UTF-8"
            raise DataError(f"stage {_NAME}: {message}: {error.reason}") from error
        return with_ids(self.config, record, self._ids(data))

    def _ids(self, data: bytes) -> NDArray[np.int32]:
        config = self.config
        first, last = int(config.bos is not None), int(config.eos is not None)
        room = len(data) if config.max_length is None else config.max_length - first - last
        ids = np.empty(first + min(len(data), room) + last, np.int32)
        middle = ids[first : len(ids) - last]
        np.add(np.frombuffer(data, np.uint8, len(middle)), np.int32(config.offset), out=middle)
        ids[:first], ids[len(ids) - last :] = config.bos or 0, config.eos or 0
        return ids

"""The stage that runs a Hugging Face tokenizer."""

import hashlib
import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np

from feedrace.plugin import (
    ConfigError,
    Configured,
    DataError,
    NotInstalledError,
    Problem,
    clipped,
    install_line,
)
from feedrace_text.config import TokenizeConfig
from feedrace_text.fields import spec_with_ids, text_of, with_ids

_NAME = "tokenize"
_FILE = "tokenizer.json"
_loading = threading.Lock()


class Tokenize(Configured):
    """Turns a field of text into the int32 ids that a tokenizer gives it.

    Padding and truncation that the tokenizer's file asks for are left out: `max_length` truncates,
    and batchers pad. Any number of threads may call it; they run at once, since the tokenizer
    releases Python's lock. A pickled stage carries the path of the file; each process loads the
    tokenizer when it first needs it.

    Raises `NotInstalledError` without the library `tokenizers`, and `ConfigError` if the file of
    the tokenizer cannot be read or found.
    """

    on = "record"

    def __init__(self, config: TokenizeConfig) -> None:
        if importlib.util.find_spec("tokenizers") is None:
            message = f"stage {_NAME} needs tokenizers, which is not installed"
            raise NotInstalledError(message, fix=install_line("tokenize"))
        self.config = config
        self._file = _file_of(config.tokenizer)
        self._digest = _digest(_content(self._file))
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def identity(self) -> str:
        """Return a digest of the tokenizer's file."""
        return self._digest

    def spec(self, element_spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec with ids of shape (None,).

        Raises `ConfigError` if the file holds no tokenizer, or `max_length` has no room for text
        beside its special tokens; `DataError` if a field does not fit.
        """
        self._tokenizer()
        return spec_with_ids(_NAME, self.config, element_spec)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with ids; raise `DataError` if its field holds no text."""
        text = text_of(_NAME, self.config, record)
        try:
            text = text.decode() if isinstance(text, bytes) else text
            text.encode()  # for an error with a reason, if half a surrogate pair is in it
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            message = f"field {self.config.field!r} holds {clipped(text)}, which is not UTF-8"
            raise DataError(f"stage {_NAME}: {message}: {error.reason}") from error
        # `encode` would hold Python's lock meanwhile; the methods for batches release it.
        [encoding] = self._tokenizer().encode_batch_fast(
            [text], add_special_tokens=self.config.add_special_tokens
        )
        return with_ids(self.config, record, np.array(encoding.ids, np.int32))

    def _tokenizer(self) -> Any:
        if self._loaded is None:
            with _loading:  # the first of several threads loads it for all
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    def _load(self) -> Any:
        from tokenizers import Tokenizer

        content = _content(self._file)
        if _digest(content) != self._digest:
            message = f"the tokenizer {str(self._file)!r} changed while it was in use"
            raise DataError(f"stage {_NAME}: {message}; build the pipeline again")
        try:
            tokenizer = Tokenizer.from_buffer(content)
        except ValueError as error:
            message = f"{str(self._file)!r} holds no tokenizer: {error}"
            raise ConfigError([Problem("tokenizer", message)]) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        most = self.config.max_length
        if most is not None:
            special = self.config.add_special_tokens and tokenizer.num_special_tokens_to_add(False)
            if most <= special:  # the library would then not truncate at all
                message = f"{most} has no room for text beside {special:d} special tokens"
                fix = f"give {special + 1} or more"
                raise ConfigError([Problem("max_length", f"{message}; {fix}")])
            tokenizer.enable_truncation(most)
        return tokenizer


def _file_of(tokenizer: str) -> Path:
    """Return the file of a tokenizer, which comes from the hub if it is neither file nor folder."""
    place = Path(tokenizer)
    if place.is_dir():
        place /= _FILE
    if place.exists():
        return place.absolute()
    if place.suffix == ".json" or tokenizer.count("/") > 1 or tokenizer[0] in "./~":
        message = f"{clipped(str(place))} does not exist; give a {_FILE}, or a folder with one"
        raise ConfigError([Problem("tokenizer", message)])
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(tokenizer, _FILE)).absolute()
    except Exception as error:
        reason = f"the hub gives no {_FILE}: {type(error).__name__}: {error}"
        fix = "check the name and the network, or download the file and give its path"
        message = f"{clipped(tokenizer)} is no file or folder here, and {reason}; {fix}"
        raise ConfigError([Problem("tokenizer", message)]) from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{str(file)!r} cannot be read: {error.strerror}"
        raise ConfigError([Problem("tokenizer", message)]) from error


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()

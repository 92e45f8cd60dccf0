"""Record stages for Feedrace: text into token ids."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_text.byte_tokens import ByteTokens
    from feedrace_text.config import ByteTokensConfig, TokenizeConfig
    from feedrace_text.tokenize import Tokenize

__all__ = ["ByteTokens", "ByteTokensConfig", "Tokenize", "TokenizeConfig"]
_HOMES = {"ByteTokens": "byte_tokens", "Tokenize": "tokenize"}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_text' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_text.{_HOMES.get(name, 'config')}")
    return getattr(home, name)

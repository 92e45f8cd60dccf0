"""Configs of this plugin's stages."""

import attrs

from feedrace.plugin import ConfigError, Problem, boolean, integer, path_field, text

_MAX_ID = 2**31 - 1  # ids are int32
_BYTES = 256


@attrs.frozen(kw_only=True)
class TextConfig:
    """What both stages have: which field they read, and where the ids go.

    field: a field of text: str, or bytes in UTF-8.
    into: the field that the ids go to; by default they take the place of the text.
    keep: whether the text stays if the ids go to another field.
    max_length: most ids of a record, those around the text included; the end of a longer text is
        left out. 1 or more; None for no limit.
    """

    field: str = attrs.field(validator=text())
    into: str | None = attrs.field(default=None, validator=text(optional=True))
    keep: bool = attrs.field(default=True, validator=boolean)
    max_length: int | None = attrs.field(default=None, validator=integer(1, _MAX_ID, optional=True))


@attrs.frozen(kw_only=True)
class ByteTokensConfig(TextConfig):
    """Config of the byte-tokens stage, besides `field`, `into`, `keep` and `max_length`.

    offset: the id of byte 0, so that this many ids below it are free for other uses.
    bos, eos: ids put before and after the text, outside those of the bytes; None for none.

    Raises `ConfigError` if `bos` or `eos` is the id of a byte, or `max_length` has no room for one.
    """

    offset: int = attrs.field(default=0, validator=integer(0, _MAX_ID - _BYTES + 1))
    bos: int | None = attrs.field(default=None, validator=integer(0, _MAX_ID, optional=True))
    eos: int | None = attrs.field(default=None, validator=integer(0, _MAX_ID, optional=True))

    def __attrs_post_init__(self) -> None:
        problems = []
        for name, value in (("bos", self.bos), ("eos", self.eos)):
            if value is not None and self.offset <= value < self.offset + _BYTES:
                last = self.offset + _BYTES - 1
                message = f"{value} is the id of a byte, as {self.offset} to {last} are"
                problems.append(Problem(name, f"{message}; choose another, or another offset"))
        around = (self.bos is not None) + (self.eos is not None)
        if self.max_length is not None and self.max_length <= around:
            message = f"{self.max_length} has no room for text beside bos and eos"
            problems.append(Problem("max_length", f"{message}; give {around + 1} or more"))
        if problems:
            raise ConfigError(problems)


@attrs.frozen(kw_only=True)
class TokenizeConfig(TextConfig):
    """Config of the tokenize stage, besides `field`, `into`, `keep` and `max_length`.

    tokenizer: a tokenizer.json, a folder that has one, or the name of a model on the Hugging Face
        hub, such as "openai-community/gpt2", whose file is then kept in the hub's own cache.
    add_special_tokens: whether the tokenizer puts the ids around the text that its model expects.
    """

    tokenizer: str = path_field()
    add_special_tokens: bool = attrs.field(default=True, validator=boolean)

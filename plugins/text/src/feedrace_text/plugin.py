"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="stage",
        name="byte-tokens",
        target="feedrace_text.byte_tokens:ByteTokens",
        config="feedrace_text.config:ByteTokensConfig",
        summary="A field of text as the numbers of its UTF-8 bytes, for records.",
    )
    yield Component(
        kind="stage",
        name="tokenize",
        target="feedrace_text.tokenize:Tokenize",
        config="feedrace_text.config:TokenizeConfig",
        summary="A field of text as the ids of a Hugging Face tokenizer, for records.",
    )

"""The stages pass the suite that plugin authors use."""

import pytest

from feedrace_testing import RecordStageSuite


class TestByteTokens(RecordStageSuite):
    component = "byte-tokens"
    config = {"field": "text", "into": "tokens", "offset": 3, "eos": 1, "max_length": 9}
    record = {"text": "Grüße, 世界"}


class TestByteTokensInPlace(RecordStageSuite):
    component = "byte-tokens"
    config = {"field": "text"}
    record = {"text": b"bytes"}


class TestTokenize(RecordStageSuite):
    component = "tokenize"
    record = {"text": "def bisect(a, x): ..."}

    @pytest.fixture(autouse=True)
    def with_a_tokenizer(self, tokenizer_json):
        path = str(tokenizer_json)
        self.config = {"field": "text", "into": "tokens", "keep": False, "tokenizer": path}

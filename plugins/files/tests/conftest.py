import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep tables out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield

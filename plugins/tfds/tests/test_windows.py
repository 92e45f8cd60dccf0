import jax
import jax.numpy as jnp
import numpy as np
import pytest

from feedrace_tfds.windows import traced_window_indices, window_indices


@pytest.mark.parametrize(("n", "window"), [(360, 100), (300, 100), (7, 100), (100, 1), (5, 5)])
def test_the_traced_order_is_that_of_the_host(n, window):
    for epoch in (0, 3):
        order = window_indices(epoch * n, (epoch + 1) * n, n, window=window, seed=11)
        assert sorted(order) == list(range(n))
        assert (order // window == np.arange(n) // window).all()
        traced = jax.jit(lambda e, p: traced_window_indices(e, p, n, window=window, seed=11))(
            jnp.uint32(epoch), jnp.arange(n, dtype=jnp.int32)
        )
        assert (np.asarray(traced) == order).all()

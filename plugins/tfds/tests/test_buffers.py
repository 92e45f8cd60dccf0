"""Memory is used again once nobody looks at it, and not before."""

import jax
import numpy as np
import pytest

from penstock_tfds import buffers
from penstock_tfds.buffers import Buffers, aligned

SIZE = 1 << 20
UINT8 = np.dtype(np.uint8)


@pytest.mark.parametrize("hold", [lambda a: a, lambda a: a[3:], jax.device_put,
                                  lambda a: a.reshape(4, -1)[1]])  # fmt: skip
def test_what_is_held_is_never_handed_out(hold):
    kept = Buffers()
    array = aligned((SIZE,), UINT8, kept.take)
    array[...] = 7
    held = hold(array)
    jax.block_until_ready(held)
    del array
    for _ in range(12):
        aligned((SIZE,), UINT8, kept.take)[...] = 9
    assert (np.asarray(held) == 7).all()


def test_what_nobody_holds_is_handed_out_again():
    kept = Buffers()
    places = set()
    for _ in range(5):
        array = aligned((SIZE // 4,), np.dtype(np.float32), kept.take)
        places.add(array.ctypes.data)
        assert array.ctypes.data % 64 == 0
        del array
    assert len(places) == 1
    assert len(kept._kept) == 1


def test_no_more_than_a_few_are_kept():
    kept = Buffers()
    held = [aligned((SIZE + i,), UINT8, kept.take) for i in range(20)]
    assert len(held) == 20
    assert len(kept._kept) == buffers._MOST
    assert len({array.ctypes.data for array in held}) == 20

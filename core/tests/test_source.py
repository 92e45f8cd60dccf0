import itertools

import jax
import numpy as np
import pytest

from feedrace.errors import FeedraceError
from feedrace.plugin import Order, SourceModule, StructuralConfig


class Squares(SourceModule):
    """A source of n records whose reads are counted and that notices when it is closed."""

    def __init__(self, n):
        super().__init__(StructuralConfig())
        self.length = n

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        return {"x": np.asarray(indices) ** 2}


def take(n, elements):
    return [int(e["x"]) for e in itertools.islice(elements, n)]


def test_three_methods_make_a_source():
    made = Squares(3)
    assert take(9, made) == [0, 1, 4]
    assert (made.index.get_value(), made.epoch.get_value()) == (0, 1)
    assert made.order == Order(3)
    assert made.process(np.array([2]))["x"].tolist() == made([2])["x"].tolist() == [4]


@pytest.mark.parametrize("n", [4, 300])
def test_an_iterator_that_was_overtaken_raises_on_its_next_record(n):
    made = Squares(n)
    old, new = iter(made), iter(made)
    assert (take(1, old), take(1, new)) == ([0], [1])
    with pytest.raises(FeedraceError, match="Squares is out of date"):
        next(old)
    assert take(n, new) == [i**2 for i in range(2, n)]
    with pytest.raises(FeedraceError, match="out of date"):
        list(zip(made, made, strict=True))


@pytest.mark.parametrize(
    "move",
    [
        SourceModule.reset,
        lambda made: made.get_batch(2),
        lambda made: made.set_state({**made.get_state(), "index": 0}),
    ],
)
def test_an_iterator_of_a_source_that_was_moved_raises(move):
    made = Squares(5)
    old = iter(made)
    take(2, old)
    move(made)
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)


def test_an_iterator_overtaken_on_the_last_record_raises_too():
    made = Squares(2)
    old = iter(made)
    assert take(2, old) == [0, 1]
    assert take(1, iter(made)) == [0]
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)


def test_skipped_records_move_the_position_and_a_closed_iterator_closes_its_reader():
    closed = []

    class Skipping(Squares):
        def __iter__(self):
            return self._hand_out(self.records())

        def records(self):
            try:
                for start, _ in self._blocks(1):
                    yield None if start % 2 else {"x": start}
            finally:
                closed.append(True)

    made = Skipping(5)
    elements = iter(made)
    assert take(2, elements) == [0, 2]
    assert made.index.get_value() == 3
    elements.close()
    assert closed == [True]
    assert take(5, made) == [4]
    assert made.epoch.get_value() == 1

"""Random orders, samplers and plans, compared with lists; seeks, stops and resumes of samplers."""

import itertools

import feedrace
from feedrace.plan.order import Order
from feedrace.plan.steps import plan_stream


def attack(rng):
    return rng.choice([order, sampler, plan])(rng)


def order(rng):
    """An order is a permutation each epoch, alike from any place, and knows its inverse."""
    n = rng.choice([rng.randrange(1, 40), rng.randrange(1, 5000), 2 ** rng.randrange(1, 13)])
    made = Order(n, rng.choice([None, rng.randrange(2**64)]), rng.randrange(4))
    epoch = rng.choice([0, 1, rng.randrange(2**31)])
    whole = made.indices(epoch * n, epoch * n + n).tolist()
    assert sorted(whole) == list(range(n)), made
    start = rng.randrange(n)
    stop = rng.randrange(start, n + 1)
    assert made.indices(epoch * n + start, epoch * n + stop).tolist() == whole[start:stop], made
    assert made.positions(epoch, whole).tolist() == list(range(n)), made
    return "order: permuted whole"


def sampler_of(rng):
    """Return a sampler and, as a list, what one pass of it serves; the seeds are the same."""
    n, epochs = rng.randrange(1, 60), rng.randrange(1, 4)
    name = rng.choice(["sequential", "shuffle", "epoch-aware", "range", "sliding-window",
                       "block-shuffle", "mixture"])  # fmt: skip
    config = {"num_records": n, "num_epochs": epochs}
    if name == "shuffle":
        del config["num_epochs"]
    if name not in ("sequential", "range"):
        config["seed"] = rng.randrange(2**63)
    if name == "range":
        config |= {"start": rng.randrange(n), "step": rng.randrange(1, 5)}
    elif name == "sliding-window":
        config |= {"window_size": rng.randrange(1, n + 1), "stride": rng.randrange(1, 5)}
        config["shuffle"] = rng.random() < 0.5
    elif name == "block-shuffle":
        config |= {"block_size": rng.randrange(1, 20), "window_blocks": rng.randrange(1, 5)}
    elif name == "mixture":
        cut = rng.randrange(1, n + 1)
        config |= {"sizes": [size for size in (cut, n - cut) if size]}
    return name, config, feedrace.create("sampler", name, **config)


def expected(name, config, made):
    """Return what one epoch holds, sorted, in plain Python; None if that depends on weights."""
    n = config["num_records"]
    if name == "range":
        return list(range(config["start"], n, config["step"]))
    if name == "sliding-window":
        size = config["window_size"]
        return [list(range(i, i + size)) for i in range(0, n - size + 1, config["stride"])]
    return list(range(n))


def sampler(rng):
    """A sampler serves what it promises, and resumes anywhere through its state."""
    name, config, made = sampler_of(rng)
    whole = [index.tolist() if hasattr(index, "tolist") else index for index in made]
    assert len(whole) == len(made)
    per_epoch = made.records_per_epoch
    for start in range(0, len(whole), per_epoch):
        assert sorted(whole[start : start + per_epoch]) == expected(name, config, made), config
    assert made.indices(0, len(whole)).tolist() == whole
    # The next pass, stopped at random places and resumed in other objects.
    after = len(whole)
    served, running = [], made
    while len(served) < after:
        served += list(itertools.islice(running, rng.randrange(1, after + 2)))
        if rng.random() < 0.6 and len(served) < after:
            twin = feedrace.create("sampler", name, **config)
            twin.set_state(running.get_state())
            running = twin
    assert served == made.indices(after, 2 * after).tolist(), config
    return f"sampler: {name} resumed"


def plan(rng):
    """The batches of a plan are the epochs' indices cut into pieces, from any batch on."""
    _, config, made = sampler_of(rng)
    size, drop = rng.randrange(1, 30), rng.random() < 0.5
    per_epoch = made.records_per_epoch
    if drop and size > per_epoch:
        drop = False
    planned = plan_stream("train", made, batch_size=size, drop_remainder=drop)
    pieces = []
    for epoch in range(len(made) // per_epoch):
        indices = made.indices(epoch * per_epoch, (epoch + 1) * per_epoch).tolist()
        cut = [indices[i : i + size] for i in range(0, per_epoch, size)]
        pieces += [piece for piece in cut if not drop or len(piece) == size]
    assert len(pieces) == planned.batches_per_pass, config
    first = rng.randrange(len(pieces))
    got = [piece.tolist() for _, _, piece in planned.batches(first, len(pieces))]
    assert got == pieces[first:], config
    assert planned.samples(first) == sum(map(len, pieces[:first])), config
    return "plan: cut alike"

"""What a trillion records and 1,024 hosts would cost: the plan is asked, costs are measured.

usage: scale.py [--quick] [--page FILE.md]. Hosts are simulated: the plan gives the record numbers
of global batches, and JAX, with a CPU device for each host, which rows a host has. What a formula
makes of costs that were measured in this run is named as such on the page.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from host_costs import passing_on
from host_work import Made
from measure import QUICK, alternate, figure, quick_option, report

from feedrace.storage.blocks import BLOCK as STORE_BLOCK

RECORDS, HOSTS, BATCH = 10**12, 1024, 65_536
STEP = 1.0  # seconds of a training step
FILES = 100_000
KEPT = Path(__file__).parents[2] / "docs" / "benchmarks" / "figures.json"
KINDS = {"rows of 2,048 tokens": 4_096, "photographs": 110_000, "clips": 2_000_000}  # bytes
SAMPLERS = {
    "shuffle": {},
    "block-shuffle": {},
    "block-shuffle, block_size 64, window_blocks 16": {"block_size": 64, "window_blocks": 16},
    "block-shuffle, block_size 64, window_blocks 1": {"block_size": 64, "window_blocks": 1},
}
SHARDED = """
import json, jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
mesh = jax.make_mesh((jax.device_count(),), ("hosts",), (AxisType.Auto,))
rows = NamedSharding(mesh, PartitionSpec("hosts")).devices_indices_map(({batch},))
print(json.dumps([index[0].indices({batch})[:2] for _, (*index,) in rows.items()]))
"""


def rows_of_hosts(hosts, batch):
    """Return (first, stop) rows of a global batch for each host, by JAX's own sharding."""
    flag = f"--xla_force_host_platform_device_count={hosts}"
    command = [sys.executable, "-c", SHARDED.format(batch=batch)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
    done = subprocess.run(command, text=True, capture_output=True, env=env, check=True)
    return json.loads(done.stdout)


def plan_of(sampler, records=RECORDS, **fields):
    """Return the plan of a sampler over so many records."""
    import feedrace
    from feedrace.plan.steps import plan_stream

    made = feedrace.create("sampler", sampler, num_records=records, **fields)
    return plan_stream("train", made, batch_size=BATCH, drop_remainder=True)


def numbers_at(plan, step):
    """Return the record numbers of a global batch."""
    return next(plan.batches(step, step + 1))[2]


def shares(numbers, rows, records):
    """Return each host's record numbers of a batch.

    Raises `RuntimeError` unless each record of the batch exists and is read by one host, once.
    """
    parts = [numbers[start:stop] for start, stop in rows]
    read = np.sort(np.concatenate(parts))
    if len(read) != len(numbers) or (read[1:] == read[:-1]).any():
        raise RuntimeError("hosts read a record twice, or leave one out")
    if not np.array_equal(read, np.sort(numbers)) or read[0] < 0 or read[-1] >= records:
        raise RuntimeError("hosts read records that are not those of the batch")
    return parts


def requests(parts, size):
    """Return the blocks of a store that each host's records of `size` bytes touch, on average.

    Records lie one after another; a host fetches no block twice for a step.
    """
    found = []
    for numbers in parts:
        first, last = numbers * size // STORE_BLOCK, ((numbers + 1) * size - 1) // STORE_BLOCK
        many = int((last - first).max()) + 1
        blocks = first[:, None] + np.arange(many)
        found.append(len(np.unique(blocks[blocks <= last[:, None]])))
    return float(np.mean(found))


def simulated(steps, rows):
    """Return what asking the plan for random steps of five epochs shows."""
    plan, rng = plan_of("shuffle"), np.random.default_rng(0)
    most, crowded = plan.batches_per_epoch, 0
    chosen = sorted(rng.integers(0, 5 * most, steps).tolist())
    for step in chosen:
        numbers = numbers_at(plan, step)
        shares(numbers, rows, RECORDS)
        crowded = max(crowded, int(np.bincount(numbers // (RECORDS // FILES)).max()))
    return {"steps": steps, "crowded": crowded, "per_epoch": most}


def turned_back(count):
    """Check that random positions come back from their records, and that neighbours differ."""
    from feedrace.plugin import Order

    order, rng = Order(RECORDS, 7), np.random.default_rng(1)
    for epoch in (0, 1, 9_000_000):
        start = int(rng.integers(0, RECORDS - count))
        place = epoch * RECORDS + start
        numbers = order.indices(place, place + count)
        back = order.positions(epoch, numbers)
        if len(np.unique(numbers)) != count or not np.array_equal(
            back, np.arange(start, start + count)
        ):
            raise RuntimeError(f"the order of {RECORDS:,} records is no permutation in {epoch}")
    return 3 * count


def far_state():
    """Return bytes of a state, and the seconds to a first batch near and far, of all records."""
    import jax

    import feedrace

    pipeline = feedrace.Pipeline(
        source=Made(RECORDS, (8,), np.float32), sampler={"use": "shuffle"}, batch_size=64, seed=0
    )
    start = pipeline.get_state()
    late = {**start, "counters": {"pass": 0, "update": int(0.999 * RECORDS / 64)}}

    def first(state):
        pipeline.set_state(state)
        with pipeline.steps() as steps:
            jax.block_until_ready(next(steps).batch)

    functions = {name: functools.partial(first, state)
                 for name, state in (("start", start), ("late", late))}  # fmt: skip
    seconds = alternate(functions, 21)
    return len(json.dumps(pipeline.get_state())), seconds


def table_bytes(lines=10_000):
    """Return the bytes of the table of where lines begin, for each line."""
    from feedrace.plugin import Storage
    from feedrace.storage.lines import scan_lines

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.txt"
        path.write_text("a line of text\n" * lines)
        storage = Storage(cache_dir=folder)
        table = scan_lines(storage.open(storage.find(str(path))[0]))
    return sum(array.nbytes for array in table.arrays.values()) / lines


def kept_bits():
    """Return the bits that a filter keeps of a record: the kept figure of `compose`."""
    figures = json.loads(KEPT.read_text())["compose"]["figures"]
    return figures["what is kept of a filter for each record"][0]


def plan_cost(records, seconds):
    """Return the seconds that the numbers of a global batch take, in the plan's own blocks."""
    batches, steps = plan_of("shuffle", records).batches(1000), 0
    next(batches)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(batches)
        steps += 1
    return (time.perf_counter() - began) / steps


def measured():
    """Return the costs that the formulas use."""
    most = 0.3 if QUICK else 1.0
    numbers, fewer = (min(plan_cost(n, most) for _ in range(3)) for n in (RECORDS, 10**9))
    count = 50 if QUICK else 200
    small = passing_on(Made(1000 * count, (3,), np.float32), 1000)[0] / 1000
    large = passing_on(Made(128 * (20 if QUICK else 50), (224, 224, 3), np.uint8), 128)[0] / 128
    state, seconds = far_state()
    return {"numbers": numbers, "fewer": fewer, "small": small, "large": large, "state": state,
            "table": table_bytes(), **seconds}  # fmt: skip


def readings(rows):
    """Yield sampler, kind, bytes of a record, and the blocks a host fetches for a step."""
    for name, fields in SAMPLERS.items():
        numbers = numbers_at(plan_of(name.partition(",")[0], **fields), 10**6)
        parts = shares(numbers, rows, RECORDS)
        for kind, size in KINDS.items():
            yield name, kind, size, requests(parts, size)


def reads_table(found):
    """Yield the lines of the table of what a host reads in a step."""
    yield "| sampler | records of | MiB wanted | requests | MiB fetched | of which wanted |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name, kind, size, blocks in found:
        wanted, fetched = BATCH // HOSTS * size, blocks * STORE_BLOCK
        yield (f"| {name} | {kind} | {wanted / 2**20:,.2f} | {blocks:,.0f} | "
               f"{fetched / 2**20:,.2f} | {wanted / fetched:.0%} |")  # fmt: skip


def hosts_table(costs):
    """Yield the lines of the table of a host's costs in a step, for some numbers of hosts."""
    yield ("| hosts | rows a host | record numbers | passing on, 16 bytes | passing on, 150 kB | "
           "of a step | wanted by photographs |")  # fmt: skip
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for hosts in (1, 32, HOSTS):
        rows = BATCH // hosts
        numbers, small, large = costs["numbers"], costs["small"] * rows, costs["large"] * rows
        yield (f"| {hosts:,} | {rows:,} | {1e3 * numbers:.2f} ms | {1e3 * small:.2f} ms | "
               f"{1e3 * large:.2f} ms | {(numbers + large) / STEP:.1%} | "
               f"{rows * KINDS['photographs'] / STEP / 1e6:,.0f} MB/s |")  # fmt: skip


def document(costs, checked, turned, reads):
    """Return the page."""
    bits, cores = kept_bits(), len(os.sched_getaffinity(0))
    template = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    return template.substitute(
        batch=f"{BATCH:,}",
        steps=checked["steps"],
        per_epoch=f"{checked['per_epoch']:,}",
        days=f"{checked['per_epoch'] * STEP / 86_400:,.0f}",
        turned=f"{turned:,}",
        crowded=checked["crowded"],
        files=f"{FILES:,}",
        epochs=f"{(2**63 - 1) // RECORDS:,}",
        state=costs["state"],
        start=f"{1e3 * costs['start']:.1f}",
        late=f"{1e3 * costs['late']:.1f}",
        numbers=f"{1e3 * costs['numbers']:.1f}",
        nanoseconds=f"{1e9 * costs['numbers'] / BATCH:.0f}",
        fewer=f"{1e9 * costs['fewer'] / BATCH:.0f}",
        most_numbers=f"{BATCH / costs['numbers'] / 1e6:,.0f}",
        small=f"{1 / costs['small'] / 1e6:,.1f}",
        large=f"{1 / costs['large']:,.0f}",
        table_bytes=f"{costs['table']:.0f}",
        table_all=f"{costs['table'] * RECORDS / 1e12:,.0f}",
        cores=f"{cores} core{'s' if cores > 1 else ''}",
        bits=f"{bits:g}",
        filter_all=f"{bits * RECORDS / 8 / 1e9:,.0f}",
        reads="\n".join(reads_table(reads)),
        hosts="\n".join(hosts_table(costs)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    quick_option(parser)
    parser.add_argument("--page", type=Path, help="where to write the page")
    given = parser.parse_args()
    rows = rows_of_hosts(HOSTS, BATCH)
    checked = simulated(16 if QUICK else 256, rows)
    print(f"{checked['steps']} random steps of five epochs: the {HOSTS:,} hosts' shares are "
          "disjoint and complete")  # fmt: skip
    turned = turned_back(10**5 if QUICK else 10**6)
    print(f"{turned:,} positions come back from their records")
    reads, costs = list(readings(rows)), measured()
    print("\n".join([*reads_table(reads), *hosts_table(costs)]), flush=True)
    figure("state of a run over 10^12 records", costs["state"], "bytes", "2048")
    detail = f"{1e3 * costs['late']:.1f} ms against {1e3 * costs['start']:.1f}"
    report("first batch at 99.9% of 10^12 records against the start",
           costs["late"] / costs["start"], "at most 2", detail)  # fmt: skip
    figure(f"numbers of a global batch of {BATCH:,} of 10^12 records", 1e3 * costs["numbers"], "ms",
           "10, a hundredth of a step")  # fmt: skip
    if given.page is not None:
        given.page.parent.mkdir(parents=True, exist_ok=True)
        given.page.write_text(document(costs, checked, turned, reads), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Several processes under `jax.distributed` that have to begin the same iteration."""

import hashlib
import json
from typing import Any

import jax

from feedrace.errors import FeedraceError

_rounds = 0  # of comparisons that this process has begun


def same_on_all_processes(what: Any, seconds: float) -> None:
    """Wait until all processes call this with an equal `what`, a JSON-able value.

    The coordinator of `jax.distributed` holds a digest for each process until the next call, and
    each process compares its own with that of process 0. Raises `FeedraceError` in every process
    if one does not come within so many seconds, and in those that differ from process 0.
    """
    global _rounds
    # JAX keeps the store by which processes find one another, but has no public name for it.
    from jax._src.distributed import global_state

    client: Any = global_state.client
    me, count = jax.process_index(), jax.process_count()
    number, _rounds = _rounds, _rounds + 1
    text = json.dumps(what, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    client.key_value_set(f"feedrace/{number}/{me}", digest)
    try:
        client.wait_at_barrier(f"feedrace/{number}", max(1, int(1000 * seconds)))
    except jax.errors.JaxRuntimeError as error:
        came = {key.rpartition("/")[2] for key, _ in client.key_value_dir_get(f"feedrace/{number}")}
        missing = [str(i) for i in range(count) if str(i) not in came]
        raise FeedraceError(
            f"process {', '.join(missing) or 'of another iteration'} of {count} did not begin "
            f"iteration {number} within {seconds:g} s (stall_seconds); it ended, or iterates less "
            f"often"
        ) from error
    if number:  # all processes are past the comparison before this one
        client.key_value_delete(f"feedrace/{number - 1}/{me}")
    if client.key_value_try_get(f"feedrace/{number}/0") != digest:
        raise FeedraceError(
            f"process {me} stands elsewhere than process 0, or has another pipeline: it begins "
            f"iteration {number} with {text}"
        )

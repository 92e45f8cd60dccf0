"""A run that writes what each step served, then its state; `log`, `saved` and `pause` are given."""

import json
import os
import time

import jax
import numpy as np

import feedrace

given = globals()
log, saved, pause = given["log"], given["saved"], given["pause"]


class Records:
    """Records on the host, so that a thread makes the batches."""

    def __len__(self):
        return 1000

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        return {"x": np.asarray(indices, np.int32)}


pipeline = feedrace.Pipeline(
    source=Records(),
    batch_size=7,
    sampler={"use": "epoch-aware", "num_epochs": 3, "seed": 9},
    scheduler={
        "use": "interleaved",
        "callbacks": [
            {
                "stream": "test",
                "every_n_updates": 50,
                "batch_size": 300,
                "source": {"use": "memory", "data": {"x": np.arange(1000)}},
            }
        ],
    },
)
if os.path.exists(saved):
    pipeline.set_state(feedrace.load_state(saved))
with open(log, "a") as file, pipeline.steps() as steps:
    file.write("\nresumed\n")
    for step in steps:
        valid = np.asarray(step.batch["valid_mask"])
        ids = np.asarray(step.batch["x"])[valid].tolist()
        file.write(json.dumps([step.stream, step.update, ids]) + "\n")
        file.flush()
        feedrace.save_state(saved, pipeline.get_state())
        time.sleep(pause)

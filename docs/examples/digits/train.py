"""Train a digit classifier from `digits.toml`; `--resume` continues a run that was killed."""

import argparse
import json
import sys
import time
from pathlib import Path

import click
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from flax import nnx

import feedrace

HERE = Path(__file__).parent


class Classifier(nnx.Module):
    """A small convolutional network: images of shape (batch, 8, 8, 1) to 10 logits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.out = nnx.Linear(4 * 4 * 64, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nnx.relu(self.conv2(nnx.relu(self.conv1(images))))
        return self.out(hidden.reshape(hidden.shape[0], -1))


def measure(model: Classifier, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Return the mean loss and the number of right answers; padding counts for neither."""
    logits, valid = model(batch["image"]), batch["valid_mask"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    right = (logits.argmax(-1) == batch["label"]) & valid
    return jnp.where(valid, losses, 0).sum() / valid.sum(), right.sum()


@nnx.jit
def train_step(model, optimizer, batch):
    (loss, right), gradients = nnx.value_and_grad(measure, has_aux=True)(model, batch)
    optimizer.update(model, gradients)
    return loss, right


evaluate = nnx.jit(measure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=HERE / "digits.toml")
    parser.add_argument("--checkpoints", default="digits-checkpoints", help="the folder to save in")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    begin.add_argument("--restart", action="store_true", help="delete the folder's checkpoints")
    parser.add_argument(
        "--log", type=Path, help="append the record ids of each step, as JSON lines"
    )
    options = parser.parse_args()

    pipeline = feedrace.load(options.config)
    if "test" not in pipeline.plans:
        parser.error(f"{options.config} has no callback with the stream 'test' to evaluate on")
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)
    folder = Path(options.checkpoints).absolute()
    goes_on = options.resume or options.restart
    if not goes_on and folder.is_dir() and any(folder.iterdir()):
        parser.error(
            f"{folder} holds an earlier run; continue it with --resume, delete it with --restart, "
            f"or name another"
        )
    keep = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder, options=keep) as saved:
        accuracy = None
        for step in saved.all_steps() if options.restart else ():
            saved.delete(step)
        if options.resume and saved.latest_step() is None:
            print(f"{folder} holds no checkpoint yet; starting at the beginning")
        elif options.resume:
            accuracy = restore(saved, model, optimizer, pipeline)
        try:
            accuracy = train(pipeline, model, optimizer, saved, options.log, accuracy)
        except KeyboardInterrupt:
            print(f"\nstopped; --resume continues after update {saved.latest_step() or 0}")
            sys.exit(130)
    print(f"test accuracy: {accuracy:.4f}")


def restore(saved, model, optimizer, pipeline) -> float:
    """Restore model, optimizer and pipeline from the last checkpoint; return its accuracy."""
    state = nnx.state((model, optimizer))
    items = saved.restore(
        saved.latest_step(),
        args=ocp.args.Composite(model=ocp.args.StandardRestore(state), data=ocp.args.JsonRestore()),
    )
    nnx.update((model, optimizer), items.model)
    pipeline.set_state(items.data["pipeline"])
    print(f"resumed after update {saved.latest_step()}")
    return items.data["accuracy"]


def train(pipeline, model, optimizer, saved, log: Path | None, accuracy: float | None) -> float:
    """Run the pipeline to its end, saving after each evaluation; return the last accuracy."""
    total = pipeline.plans["train"].batches_per_pass
    if saved.latest_step() == total:
        print("the run is finished already; nothing is left to do")
        return accuracy
    shown = {} if accuracy is None else {"test accuracy": f"{accuracy:.3f}"}

    def text(_) -> str:
        return "  ".join(f"{name} {value}" for name, value in shown.items())

    with click.progressbar(length=total, item_show_func=text) as bar:
        right = seen = records = 0
        began = time.perf_counter()
        for step in pipeline.steps():
            if log is not None:
                with log.open("a") as file:
                    ids = [step.stream, step.update, step.indices.tolist()]
                    file.write(json.dumps(ids) + "\n")
            if step.stream == "train":
                loss, _ = train_step(model, optimizer, step.batch)
                records += len(step.indices)
                speed = records / (time.perf_counter() - began)
                shown |= {"epoch": step.epoch + 1, "loss": f"{float(loss):.3f}"}
                shown |= {"records/s": f"{speed:,.0f}"}
                bar.update(step.update - bar.pos)
                continue
            right += int(evaluate(model, step.batch)[1])
            seen += len(step.indices)
            if step.last:
                accuracy, right, seen = right / seen, 0, 0
                shown["test accuracy"] = f"{accuracy:.3f}"
                state = ocp.args.StandardSave(nnx.state((model, optimizer)))
                data = {"pipeline": pipeline.get_state(), "accuracy": accuracy}
                items = ocp.args.Composite(model=state, data=ocp.args.JsonSave(data))
                saved.save(step.update, args=items)
    return accuracy


if __name__ == "__main__":
    main()

"""Why fine-tuning ends below its own probe on elpv, and what mends it: one change at a time against the default run.

    python benchmarks/fine_tuning_fall.py --root . --ways usual six --folds 0 1 2 3 4 --seeds 0 1 --kept /tmp/fall
    python benchmarks/fine_tuning_fall.py --table --kept /tmp/fall
    python benchmarks/fine_tuning_fall.py --root . --first 147 --folds 2 --seeds 0 --kept /tmp/fall  # what the steps do

A loop outside foldline's trainer that does what it does, step for step (order of the rows, flips, optimizer, schedule,
loss, batch-norms, the probe's head), but computes the frozen stages once for each of the four flips. Needs a project
with elpv's folds and pictures, which it reads; writes `--kept`: activations, heads, and a line a training in
`runs.jsonl`. What is there already is not trained again. Validation rows of folds only; no held-out label is read.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from fall_ground import CPU, Floats, Ground, Tail
from fall_table import table
from foldline.core.paths import Layout
from foldline.core.run import Run, load_run
from foldline.engine.loop.optim import build_optimizer, freeze
from foldline.engine.loop.schedule import build_rates
from foldline.engine.machine.precision import set_batch_norm
from foldline.images.batches import TrainingRows

FROZEN = "conv_stem, bn1, blocks.0., blocks.1., blocks.2."
DECAYS = (0.9, 0.97, 0.99)  # of moving averages of the weights, of the usual way alone
TRACED = (1, 2, 3, 5, 8, 12, 15, 20, 30, 40, 49)  # steps after which the network is looked at


@dataclass(frozen=True)
class Way:
    """A change to the default run.

    Attributes:
        sets: settings, as foldline takes them.
        folded: whether the frozen batch-norms are part of their convolutions: without, rounding alone differs.
        moved: how far the batch-norms' statistics are moved to those of these pictures before the probe, 0 to 1.
        pull: L2-SP: how much of the way back to its start a weight goes in each step, as a multiple of its rate.
        decays: whether a classifier that is trained has weight decay.
    """

    sets: tuple[str, ...] = ()
    folded: bool = True
    moved: float = 0.0
    pull: float = 0.0
    decays: bool = True

    def run(self, layout: Layout, side: int, seed: int) -> Run:
        """The run file with the change."""
        return load_run(layout, "elpv", "baseline", [f"data.image_size={side}", f"seed={seed}", *self.sets])


WAYS = {
    "usual": Way(),
    "rounding": Way(folded=False),
    "six": Way(("train.epochs=6",)),
    "twelve": Way(("train.epochs=12",)),
    "third": Way(("optim.lr=3e-4",)),
    "tenth": Way(("optim.lr=1e-4",)),
    "warm": Way(("optim.lr=3e-4", "schedule.warmup=0.3")),
    "six-third": Way(("optim.lr=3e-4", "train.epochs=6")),
    "beta2": Way(("optim.options={betas: [0.9, 0.95]}",)),
    "eps": Way(("optim.options={eps: 1e-3}",)),
    "sgd": Way(("optim.name=sgd", "optim.lr=1e-2")),
    "moved": Way(moved=0.6),
    "norms-train": Way(("train.batch_norm=train",), folded=False, moved=1.0),
    "late": Way((f"train.freeze=[classifier, {FROZEN}, blocks.3., blocks.4.]",)),
    "six-late": Way((f"train.freeze=[classifier, {FROZEN}, blocks.3., blocks.4.]", "train.epochs=6")),
    "pull": Way(pull=100.0),
    "head": Way((f"train.freeze=[{FROZEN}]", "optim.head_lr=0.1"), decays=False),
    "batch-128": Way(("train.batch_size=128",)),
    "batch-128-fast": Way(("train.batch_size=128", "optim.lr=2e-3")),
    "c-0.03": Way(("train.probe.c=0.03",)),
}


class Training:
    """One fold, one seed, one way."""

    def __init__(self, ground: Ground, run: Run, way: Way, fold: int) -> None:
        assert run.train.probe is not None
        self.ground, self.way, self.run, self.key = ground, way, run, (run.seed, fold)
        problem = replace(ground.problem, run=run)
        self.head = ground.head(fold, run.train.probe.c)
        model = ground.network(self.head, way.folded)
        freeze(model, run.train.freeze)
        self.tail = Tail(model)
        self.train_rows, self.valid_rows = problem.own(fold, train=True), problem.own(fold, train=False)
        self.truth, self.objective = problem.truth, problem.objective_of(fold)
        self.rows = TrainingRows(self.train_rows, self.key)
        self.size = usual_size(run)
        self.per_epoch = self.rows.batches(self.size)
        self.optimizer = build_optimizer(model, run.optim, CPU)
        if not way.decays:
            for group in self.optimizer.param_groups:
                if any(one is self.tail.whole.classifier.weight for one in group["params"]):
                    group["weight_decay"] = 0.0
        self.rates = build_rates(self.optimizer, run.optim.lr, run.schedule, self.per_epoch * run.train.epochs)
        self.trained = [(one, group["lr_scale"]) for group in self.optimizer.param_groups for one in group["params"]]
        self.first = [one.detach().clone() for one, _ in self.trained]
        self.averages = {decay: [one.clone() for one in self.first] for decay in DECAYS if way == Way()}

    def steps(self) -> Iterator[tuple[int, float]]:
        """Trains; the number of each step that is done, from 1, and its loss."""
        for epoch in range(self.run.train.epochs):
            order, targets = self.rows.order(epoch), torch.from_numpy(self.truth[self.train_rows]).long()
            for number in range(self.per_epoch):
                rows = order[number * self.size : (number + 1) * self.size]
                views = [self.ground.drawn(*self.key, epoch, row) for row in rows]
                self.tail.train()
                set_batch_norm(self.tail, self.run.train.batch_norm)
                logits = self.tail(self.ground.batch(views, self.train_rows[rows]))
                loss = self.objective.function(logits, targets[torch.from_numpy(rows)])
                loss.backward()  # type: ignore[no-untyped-call]
                step = epoch * self.per_epoch + number
                self.rates.at_step(step)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                self._after()
                yield step + 1, float(loss.detach())

    @torch.no_grad()
    def _after(self) -> None:
        now = [one.detach() for one, _ in self.trained]
        if self.way.pull:
            rates = [group["lr"] for group in self.optimizer.param_groups for _ in group["params"]]
            for one, start, rate in zip(now, self.first, rates, strict=True):
                one.lerp_(start, min(self.way.pull * rate, 1.0))
        for decay, average in self.averages.items():
            torch._foreach_lerp_(average, now, 1 - decay)

    def judged(self, prob: Floats, rows: NDArray[np.int64] | None = None) -> dict[str, float]:
        """AUC and log loss of the validation rows, or of others."""
        truth = self.truth[self.valid_rows if rows is None else rows]
        return {"auc": float(roc_auc_score(truth, prob)), "loss": float(log_loss(truth, prob))}

    def start(self, view: int, rows: NDArray[np.int64] | None = None) -> Floats:
        """[rows] what the probe says."""
        features = self.ground.features[view, self.valid_rows if rows is None else rows].astype(np.float64)
        logits = torch.from_numpy(features @ self.head.weight.T + self.head.bias)
        return logits.softmax(1)[:, 1].numpy()

    def done(self, first: int) -> dict[str, Any]:
        """Trains, and what is to be known of it; with `first` only so many steps, looked at one after the other."""
        began, losses, epochs, trace = time.perf_counter(), list[float](), list[Any](), list[Any]()
        seen = self.ground.features[0, self.valid_rows]
        spread = float(np.sqrt(((seen - seen.mean(0)) ** 2).sum(1).mean()))
        epochs.append(self.judged(self.start(0)))
        for step, loss in self.steps():
            losses.append(loss)
            ends = step % self.per_epoch == 0
            if not ends and not (first and step in TRACED):
                continue
            prob, features = self.ground.predicted(self.tail, self.valid_rows)
            if first:
                far = float(np.sqrt(((features.numpy() - seen) ** 2).sum(1).mean())) / spread
                trace.append({"step": step, "far": far, **self.judged(prob)})
            if step == first:
                break
            if ends:
                epochs.append(self.judged(prob) | {"train": float(np.mean(losses[-self.per_epoch :]))})
        found = {"epochs": epochs, "trace": trace, "worst_step": max(losses), "first_steps": losses[:5]}
        return found | ({} if first else self._ended()) | {"seconds": time.perf_counter() - began}

    def _ended(self) -> dict[str, Any]:
        """Of all views, of the mean with the start, of training rows as they are, of averages of the weights."""
        some, views = self.train_rows[::8], range(len(self.ground.views))
        own = [self.ground.predicted(self.tail, self.valid_rows, view)[0] for view in views]
        start = np.mean([self.start(view) for view in views], axis=0)
        four: Floats = np.mean(own, axis=0)
        far = torch.stack(
            [(one.detach() - start).norm() for (one, _), start in zip(self.trained, self.first, strict=True)]
        )
        found: dict[str, Any] = {
            "views": self.judged(four), "views_start": self.judged(start), "joined": self.judged((four + start) / 2),
            "learnt": self.judged(self.ground.predicted(self.tail, some)[0], some),
            "learnt_start": self.judged(self.start(0, some), some), "far": float(far.norm()),
            "prob": own[0].round(5).tolist(), "prob_start": self.start(0).round(5).tolist(),
            "truth": self.truth[self.valid_rows].astype(int).tolist(),
        }  # fmt: skip
        for decay, average in self.averages.items():
            with torch.no_grad():
                for (one, _), mean in zip(self.trained, average, strict=True):
                    one.copy_(mean)
            found[f"ema-{decay}"] = self.judged(self.ground.predicted(self.tail, self.valid_rows)[0])
        return found


def usual_size(run: Run) -> int:
    """Pictures a batch."""
    assert run.train.batch_size != "auto"
    return run.train.batch_size


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a line of `runs.jsonl` is of."""
    return tuple(line[name] for name in ("side", "way", "fold", "seed"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What was trained."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def trained(given: argparse.Namespace, path: Path) -> None:
    """Trains what is asked for and not there, as long as the minutes last."""
    ends, known = time.monotonic() + 60 * given.minutes, {key_of(line) for line in lines_of(path)}
    grounds: dict[float, Ground] = {}
    layout = Layout(given.root)
    for seed in given.seeds:
        for fold in given.folds:
            for name in given.ways:
                line: dict[str, Any] = {"side": given.side, "way": name, "fold": fold, "seed": seed}
                if key_of(line) in known:
                    continue
                if time.monotonic() > ends:
                    print("the minutes are over")
                    return
                way = WAYS[name]
                if way.moved not in grounds:
                    grounds[way.moved] = Ground(layout, way.run(layout, given.side, seed), given.kept, way.moved)
                line |= Training(grounds[way.moved], way.run(layout, given.side, seed), way, fold).done(given.first)
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                told = " ".join(f"{one['auc']:.4f}" for one in line["epochs"])
                told = ", ".join(f"{one['step']}: {one['far']:.2f} {one['auc']:.3f}" for one in line["trace"]) or told
                print(f"{name}, fold {fold}, seed {seed}: {told}, {line['seconds']:.0f} s", flush=True)


def main() -> None:
    """Trains, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["usual"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=1e9, help="no training begins after them")
    parser.add_argument("--first", type=int, default=0, help="only so many steps, looked at one after the other")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    if given.table:
        print(table([line for line in lines_of(given.kept / "runs.jsonl") if line["side"] == given.side], list(WAYS)))
    else:
        trained(given, given.kept / ("first.jsonl" if given.first else "runs.jsonl"))


if __name__ == "__main__":
    main()

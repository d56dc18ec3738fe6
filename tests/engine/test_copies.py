"""Several pictures of a row in one batch: which they are, what the loss makes of them, and that resumes know it."""

from typing import Any

import numpy as np
import pytest
import torch
from timm.loss import JsdCrossEntropy

from foldline.core.choices import Copies
from foldline.core.errors import FoldlineError
from foldline.core.run import Augment, Loss, Run, Sampling
from foldline.core.task import TASKS
from foldline.engine.loop import fit
from foldline.engine.losses import activate, build_objective, consistent
from foldline.engine.losses.consistency import divergence
from foldline.engine.machine.memory import slices
from foldline.images.augment import Augmenter
from foldline.images.batched import BatchAugmenter
from foldline.images.batches import Share, TrainingRows, rows_of
from foldline.images.pictures import AugmentedPictures
from tiny import TinyProject

ROWS, COUNT = 23, 3
COPIES = Copies(name="consistent", options={"count": COUNT, "weight": 12.0})
PICTURES = np.random.default_rng(0).integers(0, 256, (ROWS, 16, 16, 3), dtype=np.uint8)


def rows(copies: int = COUNT, **sampling: Any) -> TrainingRows:
    truth = np.array([0.0] * 20 + [1.0] * 3)
    return TrainingRows(
        np.arange(ROWS), (5, 2), truth=truth, outputs=["a", "b"], sampling=Sampling(**sampling), copies=copies
    )


@pytest.mark.parametrize("sampling", [{}, {"balance": 1.0}])
def test_copies_stand_side_by_side_and_an_epoch_keeps_its_length(sampling: dict[str, Any]) -> None:
    made = rows(**sampling)
    assert made.rows_per_epoch == 21
    assert made.batches(6) == 3
    for batch in made.items(4, 6):
        by_row = rows_of(batch).reshape(2, COUNT)
        assert (by_row == by_row[:, :1]).all()
        assert (batch[:, 5].reshape(2, COUNT) % COUNT == np.arange(COUNT)).all(), "each is drawn by itself"
    assert (made.order(4) == rows(**sampling).order(4)).all(), "a function of the epoch"


def test_as_many_epochs_as_copies_show_every_row_once() -> None:
    seen = [np.unique(rows().order(epoch)) for epoch in range(COUNT)]
    assert [len(part) for part in seen] == [7, 7, 7]
    assert len(np.unique(np.concatenate(seen))) == 21
    assert (rows().order(0) != rows().order(3)).any(), "then they are dealt anew"
    with pytest.raises(FoldlineError, match="too few for 24 copies"):
        rows(copies=24)


def test_the_first_of_compared_copies_is_the_picture_as_it_is() -> None:
    items = np.concatenate(list(rows().items(1, 6)))
    for name in ("consistent", "augmented"):
        settings = Augment(recipe="light", erasing=1.0, copies=Copies(name=name, options={"count": COUNT}))
        shown = AugmentedPictures(PICTURES, Augmenter(settings, (16, 16), 3)).__getitems__(items)
        drawn = BatchAugmenter(settings, (16, 16), 3)
        batched = drawn(torch.from_numpy(PICTURES[items[:, 0]]).permute(0, 3, 1, 2), drawn.draw(items))
        plain = torch.from_numpy(PICTURES[items[:, 0]]).permute(0, 3, 1, 2)
        for pictures in (shown.float(), batched):
            same = ((pictures - plain.float()).abs() < 0.01).flatten(1).all(1).numpy()  # a batch's floats are rounded
            assert same.tolist() == [name == "consistent" and i % COUNT == 0 for i in range(len(items))]


def test_it_is_timms_jsd() -> None:
    objective = build_objective(Loss(), TASKS["multiclass"], list("abcd"), np.arange(4.0))
    logits = torch.randn(5, COUNT, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 1])
    theirs = JsdCrossEntropy(COUNT, alpha=12, smoothing=0)(logits.transpose(0, 1).flatten(0, 1), target.repeat(COUNT))
    together = consistent(objective, COPIES)
    ours = together.function(logits.flatten(0, 1), target.repeat_interleave(COUNT))
    assert torch.allclose(ours, theirs)
    assert together.plain is objective.plain
    parts = [
        together.function(logits.flatten(0, 1)[part], target.repeat_interleave(COUNT)[part]) * (part.stop - part.start)
        for part in slices(15, 2, COUNT)
    ]
    assert torch.allclose(torch.stack(parts).sum() / 15, ours), "parts of a batch add up to it"


def test_yes_and_no_diverge_as_two_classes() -> None:
    logits = torch.randn(5, COUNT, 1, generator=torch.Generator().manual_seed(0))
    both = torch.cat([logits, torch.zeros_like(logits)], 2).softmax(2)
    expected = divergence(both, "softmax")
    assert torch.allclose(divergence(activate(logits, "sigmoid"), "sigmoid"), expected)
    assert float(divergence(both[:, :1].repeat(1, COUNT, 1), "softmax")) == pytest.approx(0, abs=1e-7)
    assert expected > 0
    with pytest.raises(FoldlineError, match="not probabilities"):
        consistent(build_objective(Loss(), TASKS["regression"], ["x"], np.zeros((3, 1))), COPIES)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_is_certain_has_a_gradient(activation: str) -> None:
    """A network that starts from a probe may be so sure that a probability is 0 in float32."""
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0], [0.0, 1.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(divergence(activate(logits, activation), activation), logits)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_ranks_and_parts_never_part_copies() -> None:
    shares = [Share(number, 4, copies=COUNT).of(21).tolist() for number in range(4)]
    assert sorted(row for part in shares for row in part) == list(range(21))
    assert all(len(part) % COUNT == 0 and part for part in shares)
    assert [part.start % COUNT for part in slices(21, 4, COUNT)] == [0, 0, 0, 0]
    assert slices(21, 99, COUNT)[-1].stop == 21


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"train": {"batch_size": 32}}, "32 is no multiple of the 3 copies"),
        ({"train": {"batch_size": "auto"}}, "auto is no multiple"),
        ({"augment": {"copies": "consistent", "recipe": "none"}}, "needs an augmentation"),
        ({"augment": {"copies": "consistent", "mix": "mixup"}}, "takes no mix"),
    ],
)
def test_what_cannot_work_together_is_refused(choices: dict[str, Any], words: str) -> None:
    content = {"augment": {"copies": "consistent"}, "train": {"batch_size": 30}} | choices
    with pytest.raises(FoldlineError, match=words):
        Run.parse(content, where="")


def test_the_network_forgets_what_augmentation_changes() -> None:
    """A watermark tells the label in the pictures as they are; augmentation draws it anew. Compared, it is not used."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (200,), generator=generator)
    sign, noise = 2.0 * label - 1, torch.randn(200, COUNT, 2, generator=generator)
    seen = torch.stack([0.7 * sign[:, None] + noise[..., 0], noise[..., 1]], 2)  # what is drawn, the watermark
    seen[:, 1:, 0], seen[:, 0, 1] = seen[:, :1, 0], 2 * sign
    objective = build_objective(Loss(), TASKS["multiclass"], ["a", "b"], label.double().numpy())
    weights = {}
    for weight in (0.0, 12.0):
        copies = Copies(name="consistent", options={"count": COUNT, "weight": weight})
        layer = torch.nn.Linear(2, 2, bias=False)
        torch.nn.init.zeros_(layer.weight)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            consistent(objective, copies).function(layer(seen.flatten(0, 1)), label.repeat_interleave(COUNT)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        weights[weight] = (layer.weight[1] - layer.weight[0]).detach()
    drawn, watermark = weights[12.0]
    assert weights[0.0][1] > weights[0.0][0], "left alone it reads the watermark"
    assert watermark < 0.3 * drawn
    assert drawn > 0.5


def test_it_trains_and_goes_on_with_the_same_bits(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = TinyProject(tmp_path, rows=60)
    project.prepare()
    settings = "train.batch_size=9 train.epochs=3 augment.copies.name=consistent train.checkpoint_minutes=1e-6"

    def train(name: str) -> int:
        return project.run("train", "--name", name, "--set", settings, "--fold", "0")

    assert train("whole") == 0
    plain, batches = fit._Training.save, [0]

    def stops(training: fit._Training) -> None:
        plain(training)
        batches[0] += 1
        if batches[0] == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit._Training, "save", stops)
        assert train("stopped") == 130
    assert train("stopped") == 0
    files = [(project.fold(0, name) / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]

"""Masks learnt beside the target: of rows that have one alone, by a decoder of which nothing is left after training."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from foldline.core.choices import Mix
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_csv, read_parquet, sha256_file
from foldline.engine.loop.masks import Marked, MaskLearner
from foldline.engine.loop.step import Learner
from foldline.engine.masks import LearntMasks
from foldline.images.masks import Masks
from foldline.images.mix import mix
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.mask_decoder import dice, maps_and_logits, maps_of, mask_loss
from tiny import FACTS, TinyProject

BASE = "train.epochs=2 augment.recipe=none"
CPU = torch.device("cpu")
SIZE = (32, 32)


def network(name: str = "test_efficientnet", **more: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(Architecture(name, 2, 1, *SIZE, **more))


def learner(model: torch.nn.Module, known: list[bool]) -> MaskLearner:
    none = Masks(np.zeros((1, *SIZE, 1), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    masks = LearntMasks(1.0, np.array(known), none, np.ones(1, dtype=bool))
    job: Any = SimpleNamespace(
        feed=SimpleNamespace(store=SimpleNamespace(channels=1)), device=CPU, key=(0, 0),
        run=SimpleNamespace(data=SimpleNamespace(height_width=SIZE)),
    )  # fmt: skip
    return MaskLearner(masks, model, job)


def marked(known: list[bool]) -> Marked:
    target = (torch.rand(len(known), *SIZE, generator=torch.Generator().manual_seed(1)) > 0.7).float()
    return Marked(target, np.array(known), sum(known))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit", "test_convnext", "test_byobnet"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_maps_come_from_the_networks_own_forward_pass(name: str, channels_last: bool) -> None:
    side = 160 if name == "test_vit" else 64
    torch.manual_seed(0)
    model = build(Architecture(name, 2, 1, side, side, channels_last=channels_last))
    x = torch.randn(3, 1, side, side)
    chosen, channels = maps_of(model, (1, side, side), CPU)
    assert model.training, "it is looked at as it was found"
    model.eval()
    maps, logits = maps_and_logits(model, x, chosen)
    assert torch.equal(logits, model(x))
    assert [one.shape[1] for one in maps] == channels
    sides = [one.shape[-1] for one in maps]
    assert sides == sorted(set(sides), reverse=True), "of maps of one size the deepest"
    assert sides[0] * 8 <= side


def test_rows_without_a_mask_have_no_part_in_the_loss() -> None:
    model = network()
    known, x = [True, False, True, False], torch.randn(4, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    one, marks = learner(model, known), marked(known)
    _, maps = one.forward(model, x)
    maps = [values.detach().requires_grad_() for values in maps]
    loss = one.loss(maps, marks)
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    for values in maps:
        assert values.grad is not None
        assert [bool(rows.any()) for rows in values.grad] == known
    before = [parameter.grad.clone() for parameter in one.decoder.parameters() if parameter.grad is not None]
    one.decoder.zero_grad()
    others = torch.tensor([False, True, False, True])
    changed = [torch.where(others.view(-1, 1, 1, 1), 1e3, values.detach()) for values in maps]
    target = torch.where(others.view(-1, 1, 1), 1 - marks.target, marks.target)
    again = one.loss(changed, Marked(target, marks.known, marks.count))
    assert again is not None
    again.backward()  # type: ignore[no-untyped-call]
    after = [parameter.grad for parameter in one.decoder.parameters()]
    assert torch.equal(loss, again)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True) if b is not None)
    assert len(before) == len(after)
    assert one.loss(maps, Marked(marks.target, ~marks.known & False, 0)) is None


def test_the_loss_is_the_mean_over_rows_with_a_mask_whatever_the_parts() -> None:
    model = network()
    known = [True, False, False, True, True]
    one, marks = learner(model, known), marked(known)
    with torch.no_grad():
        _, maps = one.forward(model, torch.randn(5, 1, *SIZE))
        whole = one.loss(maps, marks)
        places = slice(0, 2), slice(2, 3), slice(3, 5)
        parts = [one.loss([x[rows] for x in maps], marks.part(rows)) for rows in places]
        logits = one.decoder(maps, SIZE)
    assert parts[1] is None
    found = [part for part in parts if part is not None]
    assert whole is not None
    assert torch.isclose(whole, torch.stack(found).sum())
    assert torch.isclose(whole, mask_loss(logits[[0, 3, 4]], marks.target[[0, 3, 4]]).mean())


def test_a_perfect_mask_costs_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(2, *SIZE)
    target[0, 4:9, 4:9] = 1
    assert (mask_loss((target - 0.5) * 100, target) < 1e-3).all()
    assert (mask_loss((0.5 - target) * 100, target) > 1).all()
    assert dice(target > 0, torch.zeros(2, *SIZE) > 0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_masks_are_mixed_as_their_pictures(name: str) -> None:
    known = [True, True, False, True]
    marks = marked(known)
    x, hot = marks.target[:, None].repeat(1, 2, 1, 1), torch.eye(4)
    chosen = Mix.model_validate({"name": name})

    def joins(settings: Mix) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        return lambda pictures: mix(pictures, hot, 4, settings, 0, 0, 0, 1)

    done, target, found = marks.mixed(x, joins(chosen))
    alone, same = joins(chosen)(x)
    assert torch.equal(done, alone), "pictures are those of a training without masks"
    assert torch.equal(target, same)
    assert not torch.equal(found.target, marks.target)
    assert torch.allclose(found.target, done[:, 0]), "a picture that is its mask stays it"
    assert found.known.tolist() == [True, False, False, True], "a row's two pictures have one"
    assert found.count == 2
    never = Mix.model_validate({"name": name, "options": {"probability": 0.0}})
    assert marks.mixed(x, joins(never))[2] is marks


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """Every third picture has a mask of its middle; those of dark pictures are empty."""
    project = TinyProject(tmp_path, rows=60)
    raw = project.root / "raw"
    head, *lines = (raw / "train.csv").read_text().splitlines()
    more = []
    for i, line in enumerate(lines):
        name = "" if i % 3 else f"m{i:03d}.png"
        if name:
            mask = np.zeros((40, 36), dtype=np.uint8)
            mask[10:30, 8:28] = 255 if "bright" in line else 0
            cv2.imwrite(str(raw / name), mask)
        more.append(f"{line},{name}")
    (raw / "train.csv").write_text("\n".join([f"{head},mask", *more]) + "\n")
    project.write_yaml("competition", {**FACTS, "train": {**FACTS["train"], "mask": "mask"}})
    project.prepare()
    return project


def test_a_killed_training_ends_with_the_same_bits_and_leaves_no_decoder(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "train.epochs=2 augment.recipe=light loss.masks=1 train.checkpoint_minutes=1e-9"
    given = ("--set", settings, "--fold", "0")
    assert project.run("train", "--name", "whole", *given) == 0
    said = capsys.readouterr().out
    assert "training rows" in said
    assert "Dice of masks" in said
    learn, left = Learner.learn, [5]

    def killed(self: Learner, *arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return learn(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", killed)
        assert project.run("train", "--name", "killed", *given) != 0
    assert project.run("train", "--name", "killed", *given, "--set", f"{settings} data.workers=1") == 0
    assert "goes on" in capsys.readouterr().out
    folders = [project.fold(0, name) for name in ("whole", "killed")]
    for file in ("model.safetensors", "valid.parquet"):
        assert sha256_file(folders[0] / file) == sha256_file(folders[1] / file)
    logs = [read_csv(folder / "log.csv")[["mask_loss", "mask_dice"]].to_numpy().tolist() for folder in folders]
    assert logs[0] == logs[1]
    assert logs[0][0] == ["", ""]
    assert 0 <= float(logs[0][2][1]) <= 1
    assert float(logs[0][2][0]) < float(logs[0][1][0]), "the mask is learnt"
    plain = network(drop_rate=0.1).state_dict()
    assert load_file(folders[0] / "model.safetensors").keys() == plain.keys()
    assert not [path for path in folders[0].rglob("*") if "resume" in path.name]


def test_nothing_is_said_twice_where_the_minutes_are_measured_before(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """The measurement makes fold 0's job before its training does."""
    settings = "train.epochs=3 train.batch_size=4 loss.masks=1"
    assert project.run("train", "--set", settings, "--name", "long") == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("expected:") for line in said)
    assert sum("masks of" in line for line in said) == 3
    assert len(set(said)) == len(said)


def test_a_network_predicts_without_its_decoder_and_another_run_starts_from_it(project: TinyProject) -> None:
    given = ("--set", f"{BASE} predict.views=[identity] loss.masks=1", "--fold", "0")
    assert project.run("train", "--name", "masks", *given) == 0
    folder = project.fold(0, "masks")
    model = network(drop_rate=0.1)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    meta, table = FoldMeta.read(folder / "meta.json"), read_parquet(folder / "valid.parquet")
    pixels = [cv2.imread(str(project.root / "raw" / f"{row}.png"), cv2.IMREAD_GRAYSCALE) for row in table["row_id"]]
    small = np.stack([cv2.resize(np.asarray(one), SIZE, interpolation=cv2.INTER_AREA) for one in pixels])
    x = (torch.from_numpy(small)[:, None].float() / 255 - meta.mean[0]) / meta.std[0]
    with torch.no_grad():
        said = model.eval()(x)
    prob = said.softmax(1)[:, 1] if said.shape[1] == 2 else said.sigmoid()[:, 0]
    assert np.allclose(prob.numpy(), table.filter(like="prob").iloc[:, -1], atol=1e-4)
    further = f"{BASE} model.weights.name=run model.weights.options.run=masks"
    assert project.run("train", "--name", "further", "--set", further, "--fold", "0") == 0


def test_masks_go_with_what_changes_pictures_and_steps(project: TinyProject) -> None:
    settings = (
        "train.epochs=2 augment.recipe=heavy loss.masks=1 augment.crop=jitter data.original=1.25 predict.image_size=48 "
        "data.grow_from=0.5 augment.mix=both optim.accumulate=2 optim.sam=0.05 train.average=ema data.fit=letterbox "
        "train.unfreeze=0.5"
    )
    assert project.run("train", "--name", "much", "--set", settings, "--fold", "0") == 0
    log = read_csv(project.fold(0, "much") / "log.csv")
    assert (log["mask_dice"][1:].astype(float) >= 0).all()
    copies = f"{BASE} augment.recipe=light loss.masks=1 augment.copies=consistent train.batch_size=6"
    assert project.run("train", "--name", "copies", "--set", copies, "--fold", "0") == 0


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16"])
def test_masks_in_every_precision(project: TinyProject, precision: str) -> None:
    """The network's maps are in half precision, and the decoder is not."""
    settings = f"{BASE} loss.masks=1 train.precision={precision}"
    assert project.run("train", "--name", f"in-{precision}", "--set", settings, "--fold", "0") == 0
    log = read_csv(project.fold(0, f"in-{precision}") / "log.csv")
    assert np.isfinite(log["mask_loss"][1:].astype(float)).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            "model.entity.name=mean model.entity.options.by=group model.entity.options.per_picture=all",
            "loss.masks and model.entity do not go together",
        ),
        ("model.checkpointing=true", "loss.masks and model.checkpointing do not go together"),
        ("train.compile=default", "loss.masks and train.compile do not go together"),
        ("augment.engine=torch", "engine: torch moves no masks"),
        ("augment.recipe=timm/rand-m9", "turn and shear the picture alone"),
        ("model.name=cifar_cnn", "gives no feature maps"),
        ("loss.masks=-1", "loss.masks"),
    ],
)
def test_what_cannot_work_is_said(
    project: TinyProject, capsys: pytest.CaptureFixture[str], settings: str, words: str
) -> None:
    given = f"{BASE} loss.masks=1 {settings}"
    assert project.run("train", "--name", "bad", "--set", given, "--fold", "0") == 2
    assert words in capsys.readouterr().err


def test_folds_without_masks_and_torn_ones_are_refused(
    tmp_path: Path, project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").mkdir()
    plain = TinyProject(tmp_path / "plain", rows=24)
    plain.prepare()
    assert plain.run("train", "--name", "bad", "--set", f"{BASE} loss.masks=1", "--fold", "0") == 2
    assert "the rows have no masks" in capsys.readouterr().err
    names = [name for name in read_csv(project.layout.folds("tiny"))["mask_file"] if name]
    (project.layout.input("tiny") / names[0]).write_bytes(b"no picture")
    assert project.run("train", "--name", "bad", "--set", f"{BASE} loss.masks=1", "--fold", "0") == 2
    assert "1 mask cannot be used" in capsys.readouterr().err

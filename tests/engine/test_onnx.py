"""Finished networks as ONNX: onnxruntime says what torch says, or the file is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.task import TASKS, Task
from foldline.engine.finished.folder import FinishedRun
from foldline.engine.finished.networks import FoldNetworks
from foldline.engine.losses.activations import ACTIVATIONS, activate
from foldline.engine.onnx.export import CPU, Exported, export
from foldline.engine.onnx.graph import graph_of
from foldline.engine.onnx.parity import largest_difference, require_alike
from foldline.engine.onnx.write import require_packages, to_bytes, to_onnx
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.fusing import fuse
from foldline.models.metadata import fit_encoding

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

TABLE = pd.DataFrame({"age": ["30", "2019", "", "61.5"], "site": ["arm", "leg", "", "arm"]})
SIDE = 32
Folds = dict[str, list[FoldNetworks]]


def pixels(channels: int = 3, pictures: int = 4) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.random.default_rng(0).integers(0, 256, (pictures, SIDE, SIDE, channels), dtype=np.uint8)


def a_fold(
    fold: int, network: nn.Module, outputs: Sequence[str], task: Task, activation: str, **fields: Any
) -> FoldNetworks:
    meta = FoldMeta(
        comp="tiny", run="a", fold=fold, task=task, outputs=list(outputs), activation=activation, model="test_vit",
        architecture={}, height_width=(SIDE, SIDE), channels=3, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4],
        interpolation="bilinear", weights=["model.safetensors"], seed=0, versions={}, device="",
        precision={"choice": "fp32"}, seconds=0, epochs=1, selected_epoch=1, views=["identity"], metric="auc",
        score=0.5, rows_train=1, rows_valid=1, sha256={"folds": "", "run": "", "weights": ""}, **fields,
    )  # fmt: skip
    return FoldNetworks(meta, [network.eval()], CPU)


def a_run(name: str, folds: Sequence[FoldNetworks]) -> FinishedRun:
    return FinishedRun(Path(name), name, None, tuple((Path(name), fold.meta) for fold in folds))


def an_ensemble(blend: str, *members: FinishedRun, weights: "list[Any] | None" = None) -> FinishedRun:
    known: dict[str, Any] = {"blend": blend, "blend_fit": None}
    if weights is not None:
        own = [{"weights": weights}]
        fit = {"members": [member.name for member in members], "whole": own, "by_fold": {}, "rows": [1, 1], "to": ""}
        known["blend_fit"] = fit
    return FinishedRun(Path("both"), "both", Cv.model_construct(**known), members=members)


def random_network(name: str, outputs: int, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    architecture = Architecture(name, outputs, 3, SIDE, SIDE, **options)
    return fuse(build(architecture).eval(), architecture)


def exported(run: FinishedRun, folds: Folds, **options: Any) -> Exported:
    given: dict[str, Any] = {"views": [], "half": False, "properties": {}} | options
    return export(run, folds, pixels(), TABLE, **given)


def test_an_ensemble_with_metadata_heads_and_views_is_one_graph() -> None:
    """Each fold has its own means of the metadata, each run its own columns, head and scaling; GeM and arcface."""
    encoding = fit_encoding(TABLE, ["age", "site"])
    classes, task = ["no", "yes"], TASKS["binary"]
    first = [
        a_fold(
            k, random_network("test_efficientnet", 2, k, pool="gem", metadata_features=encoding.features), classes,
            task, "softmax", metadata=encoding.fitted_on(TABLE.drop(index=[k])).as_json(),
        )
        for k in range(2)
    ]  # fmt: skip
    head = {"name": "arcface", "options": {"scale": 5.0, "centers": 2}}
    second = [a_fold(0, random_network("test_resnet", 2, head=head), classes, task, "softmax")]
    run = an_ensemble("gmean", a_run("a", first), a_run("b", second))
    made = exported(run, {"a": first, "b": second}, views=["identity", "hflip", "rot90", "crop_center"])
    assert made.difference < 1e-5


@pytest.mark.parametrize(
    ("blend", "weights"), [("weights", [0.2, 0.8]), ("class_weights", [[0.2, 1.0, 0.5], [0.8, 0.0, 0.5]])]
)
def test_fitted_weights_are_part_of_the_graph(blend: str, weights: list[Any]) -> None:
    outputs, task = ["a", "b", "c"], TASKS["multiclass"]
    one, other = (
        [a_fold(0, random_network("cifar_cnn", 3, seed, options={"width": 4}), outputs, task, "softmax")]
        for seed in (0, 1)
    )
    run = an_ensemble(blend, a_run("a", one), a_run("b", other), weights=weights)
    if blend == "class_weights":
        assert exported(run, {"a": one, "b": other}).difference < 1e-5
    graph, x = graph_of(run, {"a": one, "b": other}, []), torch.from_numpy(pixels())
    alone = {own.name: graph_of(own, {"a": one, "b": other}, [])(x).detach().double().numpy() for own in run.members}
    assert np.allclose(graph(x).detach().double().numpy(), run.combine(alone), atol=1e-6)
    mean = graph_of(an_ensemble("mean", *run.members), {"a": one, "b": other}, [])(x).detach().double().numpy()
    assert not np.allclose(run.combine(alone), mean, atol=1e-4)


def test_a_stack_is_no_graph() -> None:
    folds = [a_fold(0, nn.Identity(), ["no", "yes"], TASKS["binary"], "softmax")]
    run = an_ensemble("stack", a_run("a", folds), a_run("b", folds), weights=[1])
    with pytest.raises(FoldlineError, match="blended by stack, which is no mean"):
        graph_of(run, {}, [])


def test_starts_that_all_folds_share_stand_in_the_file_once() -> None:
    start, outputs = random_network("cifar_cnn", 3, options={"width": 4}), ["a", "b", "c"]
    twin = random_network("cifar_cnn", 3, options={"width": 4})
    twin.get_classifier().bias.data += 1  # type: ignore[operator]
    folds = [a_fold(k, network, outputs, TASKS["multilabel"], "sigmoid") for k, network in enumerate((start, twin))]
    one = exported(a_run("a", folds[:1]), {"a": folds[:1]})
    both = exported(a_run("a", folds), {"a": folds})
    assert both.difference < 1e-5
    assert len(both.content) - len(one.content) < 4000 < len(one.content) // 4  # a classifier, and no second body


def test_every_activation() -> None:
    """What each gives in onnxruntime is what it gives in torch, of several targets block by block."""
    sizes = {"scaled": "scaled(2.0,1.5,0.0,3.0,1.0,1.0)", "bounded": "bounded(1.0,4.0)", "tempered": "tempered(1.3)"}
    parts = [f"{sizes.get(name, name)}:3" for name in ACTIVATIONS]
    activation, logits = f"blocks({'|'.join(parts)})", 3 * len(parts)

    class Alone(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return activate(pictures.float().mean((2, 3)) / 50 - 3, activation)

    graph, values = Alone().eval(), np.moveaxis(pixels(logits), 3, 1)
    content = to_bytes(to_onnx(graph, (torch.from_numpy(values[:2]),), "values"), {})
    expected = graph(torch.from_numpy(values)).double().numpy()
    task = TASKS["multilabel"].of(list(map(str, range(expected.shape[1]))))
    assert largest_difference(content, values, None, expected, task, threads=1) < 1e-5


def test_half_precision_halves_the_file_and_stays_near() -> None:
    folds = [
        a_fold(0, random_network("cifar_cnn", 1, options={"width": 8}), [""], TASKS["regression"], "scaled(500.0,20.0)")
    ]
    run = a_run("a", folds)
    full, half = exported(run, {"a": folds}), exported(run, {"a": folds}, half=True)
    assert len(half.content) < 0.6 * len(full.content)
    assert full.difference < half.difference < 1e-3  # of a number: as a share of the largest
    with pytest.raises(FoldlineError, match="leave HALF=1 out"):
        require_alike(0.02, half=True)
    for wrong in (2e-4, float("nan")):
        with pytest.raises(FoldlineError, match="differ by up to"):
            require_alike(wrong, half=False)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x.mean((2, 3)))
        return logits if logits.sum() > 0 else -logits


class FixedBatch(Branching):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x.mean((2, 3)))
        return logits.view(len(x), -1)


@pytest.mark.parametrize(
    ("network", "words"), [(Branching(), "cannot be written as ONNX"), (FixedBatch(), "fixes how many")]
)
def test_networks_that_onnx_cannot_say_are_refused_in_words(network: nn.Module, words: str) -> None:
    folds = [a_fold(0, network, ["no", "yes"], TASKS["binary"], "softmax")]
    with pytest.raises(FoldlineError, match=words):
        exported(a_run("a", folds), {"a": folds})


def test_what_no_graph_can_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network, task = nn.Identity(), TASKS["binary"]
    plain = [a_fold(0, network, ["no", "yes"], task, "softmax")]
    other = [FoldNetworks(plain[0].meta.model_copy(update={"height_width": (24, 24)}), [network], CPU)]
    with pytest.raises(FoldlineError, match="looks at all rows"):
        graph_of(an_ensemble("rank_mean", a_run("a", plain), a_run("b", plain)), {}, [])
    with pytest.raises(FoldlineError, match="want other pictures"):
        graph_of(an_ensemble("mean", a_run("a", plain), a_run("b", other)), {}, [])
    words = [fit_encoding(TABLE[:rows], ["site"]).as_json() for rows in (1, 4)]
    seen = [FoldNetworks(plain[0].meta.model_copy(update={"metadata": own}), [network], CPU) for own in words]
    with pytest.raises(FoldlineError, match="'site' in other ways"):
        graph_of(an_ensemble("mean", a_run("a", seen[:1]), a_run("b", seen[1:])), {}, [])
    monkeypatch.setattr("foldline.engine.onnx.write.find_spec", lambda name: None)
    with pytest.raises(FoldlineError, match=r"the package onnx is missing[^$]*pip install 'foldline\[onnx\]'"):
        require_packages()

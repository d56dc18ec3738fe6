"""The mean of the best epochs' weights: which they are, what is made of them, and that a resume makes the same."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from foldline.core.errors import FoldlineError
from foldline.core.run import Run
from foldline.core.run_training import Train
from foldline.core.tables import read_csv
from foldline.engine.loop import fit
from foldline.engine.loop.averages import Averages
from foldline.engine.loop.checkpoint import State, cpu_copy
from tiny import TinyProject

SETTINGS = "train.epochs=6 train.average.name=best train.average.options.epochs=3 optim.lr=2e-2"


def best(epochs: int, most: int) -> Train:
    return Train.model_validate({"epochs": epochs, "average": {"name": "best", "options": {"epochs": most}}})


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([0.1, 0.9, 0.5, 0.8, 0.7], [2, 4, 5]),
        ([0.5, 0.5, 0.5, 0.5, 0.4], [1, 2, 3]),  # of equal ones the earlier
        ([float("nan"), 0.2, float("nan"), 0.1, 0.3], [2, 4, 5]),
        ([None, 0.2, None, None, 0.3], [2, 5]),  # not validated
    ],
)
def test_the_best_epochs_are_kept_and_averaged(scores: list[float | None], chosen: list[int]) -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    averages = Averages(model, best(5, 3), None)
    seen: dict[int, float] = {}
    told: list[int] = []
    for number, score in enumerate(scores, 1):
        assert averages.predicting(number) is model
        with torch.no_grad():
            model.weight.fill_(float(number))
        seen |= {} if score is None else {number: score}
        told = averages.judged(number, seen, lambda left, right: left > right or (right != right and left == left))
        assert len(averages.kept) <= 3
        assert not told or number == 5
    assert told == chosen
    mean = sum(chosen) / len(chosen)
    (weight,) = averages.predicting(5).parameters()
    assert weight.flatten().tolist() == pytest.approx([mean, mean])
    assert model.weight.flatten().tolist() == [5.0, 5.0], "the network itself stays as it was trained"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    made = TinyProject(tmp_path_factory.mktemp("averages"), rows=60)
    made.prepare()
    return made


def train(project: TinyProject, name: str) -> int:
    return project.run("train", "--name", name, "--set", SETTINGS, "--fold", "0")


def test_a_fold_ends_with_the_mean_of_its_best_epochs(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, states = fit._Training.finish_epoch, {}

    def kept(training: fit._Training) -> None:
        number = training.position.epoch + 1
        states[number] = cpu_copy(training.model.state_dict())
        plain(training)

    monkeypatch.setattr(fit._Training, "finish_epoch", kept)
    assert train(project, "whole") == 0
    said = re.search(r"the mean of the weights of epochs (\d+), (\d+), (\d+) predicts", capsys.readouterr().out)
    assert said is not None
    epochs = [int(epoch) for epoch in said.groups()]
    log = read_csv(project.fold(0, "whole") / "log.csv")
    scores = [float(score) for score in log["score"][1:6]]  # the last epoch's line is that of the mean
    worst = min(scores[epoch - 1] for epoch in epochs if epoch < 6)
    assert all(scores[epoch - 1] <= worst for epoch in range(1, 6) if epoch not in epochs)
    final: State = load_file(project.fold(0, "whole") / "model.safetensors")
    for name in ("conv_stem.weight", "classifier.bias"):
        expected = torch.stack([states[epoch][name] for epoch in epochs]).mean(0)
        assert torch.allclose(final[name], expected, atol=1e-6)
        assert not torch.allclose(final[name], states[6][name], atol=1e-6)


@pytest.mark.parametrize("stopped_after", [2, 5])
def test_stopped_it_ends_with_the_same_bits(
    project: TinyProject, stopped_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(project, "whole") == 0
    name, plain = f"stopped-{stopped_after}", fit._Training.finish_epoch

    def stops(training: fit._Training) -> None:
        plain(training)
        if training.position.epoch == stopped_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit._Training, "finish_epoch", stops)
        assert train(project, name) == 130
    with safe_open(project.fold(0, name) / "resume", framework="pt") as file:
        parts = {key.partition("/")[0] for key in file.keys()}  # noqa: SIM118 - not a dict
        assert json.loads(file.metadata()["foldline"])["position"]["epoch"] == stopped_after
    assert len([part for part in parts if part.startswith("kept_")]) == min(stopped_after, 3)
    assert train(project, name) == 0
    for file_name in ("model.safetensors", "best.safetensors", "valid.parquet"):
        both = [(project.fold(0, run) / file_name).read_bytes() for run in ("whole", name)]
        assert both[0] == both[1], file_name


def test_it_is_said_to_be_optimistic_and_takes_no_second_selection() -> None:
    run = Run.parse({"train": {"average": "best"}}, where="")
    assert run.optimistic() == [
        "each fold's weights are the mean of the epochs that scored best on its validation rows"
    ]
    assert Run.parse({"train": {"average": "swa"}}, where="").optimistic() == []
    with pytest.raises(FoldlineError, match="average: best needs select: last"):
        Run.parse({"train": {"average": "best", "select": "best"}}, where="")

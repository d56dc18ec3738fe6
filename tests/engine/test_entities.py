"""Several pictures, one answer: trained, predicted, killed, sharded, and refused where it cannot work."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from foldline.core.tables import read_csv, read_json, read_parquet, sha256_file
from foldline.engine.loop.step import Learner
from stacks import STACK_FACTS, StackProject
from together import Ranks

FEW = "train.epochs=1 train.folds=[0]"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> StackProject:
    project = StackProject(tmp_path_factory.mktemp("scans"), 24)
    project.prepare()
    return project


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> StackProject:
    project = StackProject(tmp_path_factory.mktemp("pairs"), 16, pairs=True)
    project.prepare()
    return project


def done(project: StackProject, name: str, settings: str, *stages: str) -> Path:
    for stage in stages or ("train", "predict"):
        assert project.run(stage, "--name", name, "--set", settings) == 0, settings
    return project.layout.run("tiny", name)


def test_the_order_stands_in_the_folds(scans: StackProject, pairs: StackProject) -> None:
    assert {"order", "entity"} <= set(read_csv(scans.layout.folds("tiny")).columns)
    assert {"order", "entity"} <= set(read_csv(scans.layout.test_rows("tiny")).columns)
    assert set(read_csv(pairs.layout.folds("tiny"))["order"]) == {"CC", "MLO"}


@pytest.mark.parametrize("head", ["attention", "gru"])
def test_all_rows_of_an_entity_have_its_answer(scans: StackProject, head: str) -> None:
    settings = f"{FEW} model.entity={head} model.entity.options.pictures=5 predict.views=[identity,hflip]"
    run = done(scans, f"whole-{head}", settings)
    for file in ("oof.parquet", "test.parquet"):
        table = read_parquet(run / file)
        by_entity = table.groupby("entity")["prob_1"]
        assert (by_entity.nunique() == 1).all()
        assert by_entity.first().nunique() == table["entity"].nunique() > 4
    stored = read_parquet(run / "fold_0" / "valid.parquet").set_index("row_id")["prob_1"]
    oof = read_parquet(run / "oof.parquet").set_index("row_id")["prob_1"]
    assert (stored[oof.index] == oof).all()


def test_shards_give_the_same_bytes(scans: StackProject) -> None:
    settings = f"{FEW} predict.batch_size=20 predict.views=[identity,vflip]"
    run = done(scans, "whole", settings)
    part = done(scans, "parts", settings, "train")
    for shard in ("0/3", "1/3", "2/3"):
        assert scans.run("predict", "--name", "parts", "--set", settings, "--shard", shard) == 0
    assert scans.run("predict", "--name", "parts", "--set", settings) == 0
    for file in ("oof.parquet", "test.parquet"):
        assert read_parquet(run / file).equals(read_parquet(part / file))


def test_two_ranks_learn_what_one_process_learns(scans: StackProject) -> None:
    """Of a network without batch-norms, on entities of 4 to 6 pictures, in batches that cannot be halved."""
    settings = (
        "model.name=test_vit model.options={} data.image_size=32 train.epochs=2 train.batch_size=5 optim.lr=1e-3 "
        "model.entity.options.pictures=6"
    )
    ranks = Ranks(scans, "--run", "quick", "--name", "two", "--set", settings, "--fold", "0")
    assert ranks.ended() == [0, 0], ranks.said()
    assert scans.run("train", "--name", "one", "--set", settings, "--fold", "0") == 0
    logs = [read_csv(scans.fold(0, name) / "log.csv") for name in ("one", "two")]
    for column in ("train_loss", "train_accuracy", "valid_loss"):
        one, two = (log[column][1:].astype(float).to_numpy() for log in logs)
        assert one == pytest.approx(two, rel=2e-4), column
    tables = [read_parquet(scans.fold(0, name) / "valid.parquet") for name in ("one", "two")]
    assert tables[0]["row_id"].tolist() == tables[1]["row_id"].tolist()
    assert tables[0]["prob_1"].to_numpy() == pytest.approx(tables[1]["prob_1"].to_numpy(), abs=1e-4)


def test_neighbours_are_channels(scans: StackProject) -> None:
    run = done(scans, "between", f"{FEW} model.entity=none data.neighbours=1", "train")
    meta = read_json(run / "fold_0" / "meta.json")
    assert (meta["channels"], meta["neighbours"]) == (3, 1)
    both = done(scans, "both", f"{FEW} model.entity=max data.neighbours=1")
    assert read_json(both / "fold_0" / "meta.json")["architecture"]["entity"]["name"] == "max"
    raw = scans.layout.input("tiny")
    assert scans.run("predict-files", "--run", "between", str(next(raw.glob("*.png")))) == 2


def test_metadata_stand_beside_each_picture(pairs: StackProject) -> None:
    run = done(pairs, "views", f"{FEW} model.entity=mean model.metadata=[view]")
    table = read_parquet(run / "test.parquet")
    assert (table.groupby("entity")["prob_1"].nunique() == 1).all()


@pytest.fixture(scope="module")
def own_answers(tmp_path_factory: pytest.TempPathFactory) -> StackProject:
    """Labels of slices, which their scan holds together: the competition's lines are the slices'."""
    train: dict[str, Any] = {**STACK_FACTS["train"], "target": "own", "group": "scan"}
    del train["entity"]
    project = StackProject(tmp_path_factory.mktemp("own"), 24, train=train)
    table = project.root / "raw" / "train.csv"
    lines = table.read_text().splitlines()
    rows = [f"{line},{int(line.split(',')[1]) % 2}" for line in lines[1:]]
    table.write_text("\n".join([f"{lines[0]},own", *rows]) + "\n")
    project.prepare()
    return project


OWN = f"{FEW} model.entity=transformer model.entity.options.by=group"


def test_each_picture_may_have_its_own_answer(own_answers: StackProject) -> None:
    assert own_answers.run("train", "--name", "one", "--set", OWN) == 2, "targets differ within an entity"
    run = done(own_answers, "own", f"{OWN} model.entity.options.per_picture=all")
    oof = read_parquet(run / "oof.parquet")
    assert (oof.groupby("group")["prob_1"].nunique() > 1).all()
    log = read_csv(run / "fold_0" / "log.csv")
    assert 0 < float(log["train_accuracy"].iloc[-1]) < 1


def test_a_picture_that_fills_up_has_no_part_in_the_loss(
    own_answers: StackProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture of an epoch once, however many its scan has; a batch in parts has the loss of the whole."""
    kept, begin, seen = Learner._right, Learner.__init__, list[int]()

    def right(self: Learner, logits: Tensor, target: Tensor) -> Any:
        seen.append(len(target))
        return kept(self, logits, target)

    monkeypatch.setattr(Learner, "_right", right)
    network = "model.name=test_vit model.options={} data.image_size=32 model.entity.options.per_picture=all"
    settings, losses = f"{OWN} {network} model.entity.options.dropout=0 train.batch_size=4", []
    for parts in (1, 3):
        with monkeypatch.context() as patched:

            def in_parts(self: Learner, *given: Any, parts: int = parts) -> None:
                begin(self, *given)
                self.parts = parts

            patched.setattr(Learner, "__init__", in_parts)
            seen.clear()
            run = done(own_answers, f"parts-{parts}", settings, "train")
        rows = read_csv(own_answers.layout.folds("tiny"))
        assert sum(seen) == (rows["fold"] != "0").sum(), "12 scans in batches of 4"
        losses.append(float(read_csv(run / "fold_0" / "log.csv")["train_loss"].iloc[-1]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_killed_training_ends_with_the_same_bits(scans: StackProject, monkeypatch: pytest.MonkeyPatch) -> None:
    from foldline.engine.loop import fit

    settings = "train.epochs=3 train.folds=[0] model.entity.options.pictures=4 train.batch_size=4"
    whole = done(scans, "alive", settings, "train")

    class Killed(Exception):
        pass

    kept = fit._Training.finish_epoch

    def killed(self: Any) -> None:
        kept(self)
        if self.position.epoch == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(fit._Training, "finish_epoch", killed)
        with pytest.raises(Killed):
            scans.run("train", "--name", "dead", "--set", settings)
    dead = done(scans, "dead", settings, "train")
    assert sha256_file(dead / "fold_0" / "model.safetensors") == sha256_file(whole / "fold_0" / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("augment.mix=mixup", "augment.mix and a head over"),
        ("predict.compile=default", "predict.compile and a head over"),
        ("train.batch_size=auto", "train.batch_size and a head over"),
        ("train.labels=file", "train.labels and a head over"),
        ("extra.pseudo.name=x extra.pseudo.options.soft=1", "extra.pseudo.options.soft and a head over"),
        ("extra.pseudo.name=x extra.pseudo.options.ratio=0.2", "extra.pseudo.options.ratio and a head over"),
        ("model.entity.options.by=patient", "no column 'patient'"),
        ("model.entity.options.per_picture=lesion", "there is no target lesion"),
        ("model.entity=transformer model.entity.options.units=30", "divided among 4 heads"),
    ],
)
def test_what_cannot_work_is_refused(
    scans: StackProject, settings: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scans.run("train", "--name", "wrong", "--set", f"{FEW} {settings}") == 2
    assert words in capsys.readouterr().err


def test_an_order_is_needed_where_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = {key: value for key, value in STACK_FACTS["train"].items() if key != "order"}
    project = StackProject(tmp_path, 8, train=train)
    project.prepare()
    for settings in ("model.entity=gru", "model.entity=none data.neighbours=1"):
        assert project.run("train", "--name", "none", "--set", f"{FEW} {settings}") == 2
        assert "no column 'order'" in capsys.readouterr().err


def test_pictures_that_come_one_by_one_are_refused(scans: StackProject, capsys: pytest.CaptureFixture[str]) -> None:
    done(scans, "alone", FEW)
    scans.run("predict-files", "--run", "alone", str(scans.layout.input("tiny")))
    assert "answers for an entity by all of its pictures" in capsys.readouterr().err
    assert scans.run("export-onnx", "--name", "alone", "--set", FEW) == 2


def test_the_page_says_what_it_counts(scans: StackProject) -> None:
    run = done(scans, "page", FEW)
    assert scans.run("report", "--run", "page") == 0
    assert (run / "report.html").read_text().count("an entity of ten pictures counts ten times") == 2


def test_one_slice_decides(tmp_path: Path) -> None:
    """Attention finds it in what the mean drowns (docs/runs.md has three seeds)."""
    project = StackProject(tmp_path, 60)
    project.prepare()
    scores = {}
    for head in ("attention", "mean"):
        run = done(project, head, f"model.entity={head} train.folds=[0] train.epochs=12")
        scores[head] = read_json(run / "cv.json")["pooled"]
    assert scores["attention"] > 0.9 > scores["mean"], scores

from pathlib import Path

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run, load_run
from foldline.core.source_facts import Source
from foldline.core.yaml_models import apply_overrides, load_yaml, parse_yaml


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert parse_yaml("{a: 1e-3, b: 2.5E+4, c: -1e5, d: v1e3}", where="") == {
        "a": 0.001, "b": 25000.0, "c": -100000.0, "d": "v1e3",
    }  # fmt: skip


def test_equal_keys_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(FoldlineError, match="'a' stands here twice"):
        load_yaml(path)


def test_yaml_runs_no_code() -> None:
    with pytest.raises(FoldlineError, match="not valid YAML"):
        parse_yaml("!!python/object/apply:os.system [echo]", where="")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"optim": {"lrr": 1}}, "did you mean 'optim.lr'"),
        ({"optim": {"lr": -1}}, "optim.lr"),
        ({"train": {"epochs": "many"}}, "train.epochs"),
        ({"train": {"patience": 3}}, "patience needs select: best"),
        ({"train": {"epochs": 0}}, "epochs: 0 and keep_start need a probe"),
        ({"modle": {}}, "did you mean 'model'"),
    ],
)
def test_a_wrong_setting_is_named(content: dict[str, object], words: str) -> None:
    with pytest.raises(FoldlineError) as caught:
        Run.parse(content, where="configs/tiny/quick.yaml")
    assert words in str(caught.value)
    assert "configs/tiny/quick.yaml" in str(caught.value)


def test_a_run_for_all_competitions_gives_way_to_a_competitions_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "configs" / "own").mkdir(parents=True)
    (tmp_path / "configs" / "shared.yaml").write_text("seed: 1\n")
    layout.run_config("own", "shared").write_text("seed: 2\n")
    assert [load_run(layout, comp, "shared", []).seed for comp in ("other", "own")] == [1, 2]
    with pytest.raises(FoldlineError, match="known: baseline, shared"):
        load_run(layout, "other", "nothing", [])


def test_overrides_go_through_validation_and_leave_the_base_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    path = layout.run_config("c", "r")
    path.parent.mkdir(parents=True)
    path.write_text("optim: {lr: 1e-3, weight_decay: 0.1}\n")
    run = load_run(layout, "c", "r", ["optim.lr=3e-4", "predict.views=[identity, hflip]"])
    assert (run.optim.lr, run.optim.weight_decay, run.predict.views) == (3e-4, 0.1, ["identity", "hflip"])
    with pytest.raises(FoldlineError, match=r"optim\.lr"):
        load_run(layout, "c", "r", ["optim.lr=fast"])
    with pytest.raises(FoldlineError, match="is not key=value"):
        load_run(layout, "c", "r", ["optim.lr"])
    base = {"optim": {"lr": 1}}
    apply_overrides(base, ["optim.lr=2"])
    assert base == {"optim": {"lr": 1}}


def test_an_unknown_run_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "configs" / "c").mkdir(parents=True)
    (tmp_path / "configs" / "c" / "good.yaml").write_text("")
    with pytest.raises(FoldlineError, match="known: baseline, good"):
        load_run(Layout(tmp_path), "c", "bad", [])


@pytest.mark.parametrize(("written", "read"), [("no", "as truth values"), ("7", "is a number")])
def test_a_word_that_yaml_reads_otherwise_wants_quotes(written: str, read: str) -> None:
    content = parse_yaml(f"kind: {written}\n", where="x")
    with pytest.raises(FoldlineError, match=f"'kind'.*{read}.* in quotes"):
        Source.parse(content, where="x")
    assert Source.parse(parse_yaml(f'kind: "{written}"\n', where="x"), where="x").kind == written

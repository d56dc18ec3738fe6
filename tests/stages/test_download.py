"""The download stage: whole or absent, once, and a starter for competitions without facts."""

import errno
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.source_facts import Source
from foldline.readers import find_outputs, read_rows
from foldline.readers.files import list_files
from foldline.sources import SOURCES
from foldline.sources.tools import UnreachableError
from foldline.stages.download import download
from sources.kaggle_site import running_site
from sources.trees import Tree, harvest, plant, zipped

FACTS = """
source: {kind: folder, name: RAW}
task: binary
metric: auc
train: {file: t.csv, image: id, target: label}
holdout: {fraction: 0.5}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    raw = plant(tmp_path / "raw", {"t.csv": "id,label\na.png,1\n", "deep/a.png": "picture"})
    plant(tmp_path / "project", {"configs/toy/competition.yaml": FACTS.replace("RAW", str(raw))})
    return Layout(tmp_path / "project")


def change(layout: Layout, old: str, new: str) -> None:
    path = layout.competition_config("toy")
    path.write_text(path.read_text().replace(old, new))


def test_the_files_come_with_a_manifest_and_are_read_only(layout: Layout) -> None:
    download(layout, "toy")
    manifest = json.loads(layout.manifest("toy").read_text())
    assert (manifest["schema"], manifest["comp"], manifest["source"]["kind"]) == (1, "toy", "folder")
    assert [(entry["path"], entry["bytes"]) for entry in manifest["files"]] == [("deep/a.png", 7), ("t.csv", 17)]
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"])
    assert [oct(path.stat().st_mode & 0o777) for path in layout.input("toy").rglob("*.*[gv]")] == ["0o444", "0o444"]
    assert [path.name for path in (layout.root / "input").iterdir()] == ["toy"]


def test_the_second_time_nothing_is_done(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    download(layout, "toy")
    before = layout.manifest("toy").stat().st_mtime_ns
    monkeypatch.setitem(SOURCES, "folder", lambda source, place: pytest.fail("fetched again"))
    download(layout, "toy")
    assert layout.manifest("toy").stat().st_mtime_ns == before


def test_files_behind_links_stay_writable(layout: Layout, tmp_path: Path) -> None:
    """Links that a person placed lead to files that are not foldline's to change."""
    mine = plant(tmp_path / "mine", {"a.png": "a", "more/b.png": "b"})
    change(layout, "kind: folder", "kind: placed")
    layout.input("toy").mkdir(parents=True)
    (layout.input("toy") / "c.png").write_text("c")
    (layout.input("toy") / "a.png").symlink_to(mine / "a.png")
    (layout.input("toy") / "more").symlink_to(mine / "more")
    before = [path.stat().st_mode for path in (mine / "a.png", mine / "more" / "b.png")]
    download(layout, "toy")
    assert [path.stat().st_mode for path in (mine / "a.png", mine / "more" / "b.png")] == before
    assert (layout.input("toy") / "c.png").stat().st_mode & 0o777 == 0o444
    assert [entry["path"] for entry in json.loads(layout.manifest("toy").read_text())["files"]] == [
        "a.png",
        "c.png",
        "more/b.png",
    ]


def test_another_source_in_the_facts_is_an_error(layout: Layout) -> None:
    download(layout, "toy")
    change(layout, "holdout", "licence: CC0\nholdout")
    download(layout, "toy")  # other facts than the source may change
    change(layout, "kind: folder", "kind: folder, version: '2'")
    with pytest.raises(FoldlineError, match="another source") as caught:
        download(layout, "toy")
    assert "rm -r input/toy" in caught.value.next


@pytest.mark.parametrize("damage", ["missing", "longer"])
def test_a_damaged_file_is_named(damage: str, layout: Layout) -> None:
    download(layout, "toy")
    path = layout.input("toy") / "t.csv"
    path.unlink()
    if damage == "longer":
        path.write_text("id,label\na.png,1\nb.png,0\n")
    with pytest.raises(FoldlineError, match=r"t\.csv"):
        download(layout, "toy")


def fill_up(source: Source, place: Path) -> None:
    plant(place, {"half.bin": "x"})
    raise OSError(errno.ENOSPC, "No space left on device")


def break_off(source: Source, place: Path) -> None:
    plant(place, {"half.bin": "x"})
    raise FoldlineError("the connection broke")


@pytest.mark.parametrize(
    ("fails", "kind", "words"), [(fill_up, OSError, "No space left"), (break_off, FoldlineError, "connection broke")]
)
def test_a_download_that_fails_leaves_nothing(
    fails: Any, kind: type[Exception], words: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "folder", fails)
    with pytest.raises(kind, match=words):
        download(layout, "toy")
    assert not list((layout.root / "input").rglob("*"))
    monkeypatch.undo()
    download(layout, "toy")
    assert layout.manifest("toy").is_file()


def test_a_source_without_files_is_an_error(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "folder", lambda source, place: None)
    with pytest.raises(FoldlineError, match="no files"):
        download(layout, "toy")


def test_files_of_unknown_origin_stay(layout: Layout) -> None:
    mine = plant(layout.input("toy"), {"mine.csv": "id\n"})
    with pytest.raises(FoldlineError, match="no manifest") as caught:
        download(layout, "toy")
    assert "placed" in caught.value.next
    assert (mine / "mine.csv").read_text() == "id\n"


def test_files_placed_by_hand_get_a_manifest(layout: Layout) -> None:
    change(layout, "kind: folder", "kind: placed")
    with pytest.raises(FoldlineError, match="none are there"):
        download(layout, "toy")
    plant(layout.input("toy"), {"t.csv": "id,label\n"})
    download(layout, "toy")
    assert json.loads(layout.manifest("toy").read_text())["files"][0]["path"] == "t.csv"


def test_files_beside_a_kaggle_source_are_taken_where_the_facts_say_so(layout: Layout) -> None:
    """The source stays Kaggle, so that `make submit` goes on to work."""
    change(
        layout,
        "{kind: folder, name: RAW}".replace("RAW", load_competition(layout, "toy").source.name),
        "{kind: kaggle, name: toy}",
    )
    plant(layout.input("toy"), {"t.csv": "id,label\n"})
    with pytest.raises(FoldlineError, match=r"did not download \(there is no manifest of them\): t\.csv") as caught:
        download(layout, "toy")
    assert "add `otherwise: {kind: placed}` to the source" in caught.value.next
    change(layout, "name: toy}", "name: toy, otherwise: {kind: placed}}")
    download(layout, "toy")
    assert json.loads(layout.manifest("toy").read_text())["source"]["kind"] == "placed"
    download(layout, "toy")
    assert load_competition(layout, "toy").source.kind == "kaggle"


def test_what_to_do_about_placed_files_never_removes_them(layout: Layout) -> None:
    change(layout, "kind: folder", "kind: placed")
    plant(layout.input("toy"), {"t.csv": "id,label\n"})
    download(layout, "toy")
    (layout.input("toy") / "t.csv").chmod(0o644)
    (layout.input("toy") / "t.csv").write_text("id,label\na.png,1\n")
    with pytest.raises(FoldlineError, match="another size") as caught:
        download(layout, "toy")
    assert caught.value.next == "rm input/toy/manifest.json and run the command again"
    layout.manifest("toy").unlink()
    download(layout, "toy")
    change(layout, "kind: placed", "kind: folder")
    with pytest.raises(FoldlineError, match="another source") as caught:
        download(layout, "toy")
    assert caught.value.next == "move input/toy away and run the command again"


def test_hidden_files_of_the_user_stay(layout: Layout) -> None:
    plant(layout.input("toy"), {".notes": "mine", ".cache/x": "made again"})
    with pytest.raises(FoldlineError, match=r"did not download .*: \.notes"):
        download(layout, "toy")
    assert (layout.input("toy") / ".notes").read_text() == "mine"
    (layout.input("toy") / ".notes").unlink()
    download(layout, "toy")
    assert sorted(harvest(layout.input("toy"))) == ["deep/a.png", "manifest.json", "t.csv"]


def test_a_manifest_of_the_data_stays_what_it_is(layout: Layout, tmp_path: Path) -> None:
    own = '{"images": [1]}'
    plant(tmp_path / "raw", {"manifest.json": own})
    download(layout, "toy")
    assert (layout.input("toy") / "manifest.json").read_text() == own
    assert layout.manifest("toy") == layout.root / "input" / "toy.manifest.json"
    known = json.loads(layout.manifest("toy").read_text())["files"]
    assert [file["path"] for file in known] == ["deep/a.png", "manifest.json", "t.csv"]
    assert list_files(layout.input("toy")) == ["deep/a.png", "manifest.json", "t.csv"]
    download(layout, "toy")
    shutil.rmtree(layout.input("toy"))
    (tmp_path / "raw" / "manifest.json").unlink()
    download(layout, "toy")  # all is gone but the manifest beside
    assert layout.manifest("toy") == layout.input("toy") / "manifest.json"
    assert not (layout.root / "input" / "toy.manifest.json").exists()


def test_a_linked_folder_is_somebody_elses(layout: Layout, tmp_path: Path) -> None:
    change(layout, "kind: folder", "kind: placed")
    (layout.root / "input").mkdir()
    layout.input("toy").symlink_to(tmp_path / "raw")
    before = {path: path.stat().st_mode for path in (tmp_path / "raw").rglob("*")}
    download(layout, "toy")
    download(layout, "toy")
    assert {path: path.stat().st_mode for path in (tmp_path / "raw").rglob("*")} == before
    assert sorted(path.name for path in (layout.root / "input").iterdir()) == ["toy", "toy.manifest.json"]
    assert not layout.cache("toy").is_relative_to(layout.input("toy"))


def test_a_read_only_folder_is_taken_as_it_is(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    change(layout, "kind: folder", "kind: placed")
    plant(layout.input("toy"), {"t.csv": "id,label\n"})
    mode = (layout.input("toy") / "t.csv").stat().st_mode
    monkeypatch.setattr("os.access", lambda path, wanted: Path(path) != layout.input("toy"))
    download(layout, "toy")
    assert (layout.input("toy") / "t.csv").stat().st_mode == mode
    assert layout.manifest("toy").name == "toy.manifest.json"


def test_names_that_are_no_utf8_are_named(layout: Layout) -> None:
    change(layout, "kind: folder", "kind: placed")
    Path(str(plant(layout.input("toy"), {"t.csv": "id\n"})), "a\udcfc.png").write_text("x")
    with pytest.raises(FoldlineError, match=r"1 file name is no UTF-8.*a\\udcfc\.png") as caught:
        download(layout, "toy")
    assert "rename them" in caught.value.next


def test_names_that_are_no_utf8_are_mended_in_a_copy(layout: Layout, tmp_path: Path) -> None:
    Path(str(tmp_path / "raw"), "a\udcfc.png").write_text("x")
    download(layout, "toy")
    assert (layout.input("toy") / "aü.png").read_text() == "x"


def stopped_while_hashing(layout: Layout, comp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("foldline.stages.download.sha256_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download(layout, comp)


def test_another_source_in_the_facts_begins_anew(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched from the first one, and only had to be hashed, is not taken for the second one's."""
    stopped_while_hashing(layout, "toy", monkeypatch)
    assert layout.fetched("toy").is_file()
    other = plant(tmp_path / "other", {"t.csv": "other"})
    change(layout, str(tmp_path / "raw"), str(other))
    download(layout, "toy")
    assert sorted(harvest(layout.input("toy"))) == ["manifest.json", "t.csv"]
    assert (layout.input("toy") / "t.csv").read_text() == "other"


def test_a_competition_without_facts_whose_download_was_stopped_is_still_kaggles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its starter facts would say `placed`, and it could not be submitted."""
    layout = Layout(tmp_path)
    monkeypatch.setitem(SOURCES, "kaggle", lambda source, place: plant(place, {"train.csv": "id,label\n1,0\n2,1\n"}))
    stopped_while_hashing(layout, "cats", monkeypatch)
    monkeypatch.setitem(SOURCES, "kaggle", lambda source, place: pytest.fail("fetched again"))
    download(layout, "cats")
    assert yaml.safe_load(layout.competition_config("cats").read_text())["source"] == {"kind": "kaggle", "name": "cats"}


def test_two_downloads_at_once_do_not_meet(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def again(source: Source, place: Path) -> None:
        plant(place, {"t.csv": "id"})
        other.start()
        other.join(1.5)
        assert other.is_alive(), "it waits"

    other = threading.Thread(target=download, args=(layout, "toy"))
    monkeypatch.setitem(SOURCES, "folder", again)
    download(layout, "toy")
    other.join()
    assert "'toy' is being downloaded by another process, number" in capsys.readouterr().out
    assert sorted(path.name for path in (layout.root / "input").iterdir()) == ["toy"]


def test_without_a_network_the_way_by_hand_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(source: Source, place: Path) -> None:
        raise UnreachableError("cannot be reached", next="check the network")

    monkeypatch.setitem(SOURCES, "folder", away)
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        download(layout, "toy")
    assert caught.value.next == (
        "check the network; or put its files into input/toy yourself and add `otherwise: {kind: placed}` to the source "
        "in the facts"
    )


# Raw files of competitions without facts -> what the starter must find out.
CAT_DOG: Tree = {f"train/{kind}.{i}.jpg": "x" for kind in ("cat", "dog") for i in range(3)}
STARTERS: dict[str, tuple[Tree, str, list[str], list[str]]] = {
    "a table of labels, ids without an ending": (
        {
            "train_labels.csv": "id,label\n0a,0\n0b,1\n0c,0\n",
            "sample_submission.csv": "id,label\n1a,0\n1b,0\n",
            **{f"train/{i}.tif": "x" for i in ("0a", "0b", "0c")},
            **{f"test/{i}.tif": "x" for i in ("1a", "1b")},
        },
        "binary",
        ["0a", "0b", "0c"],
        ["1a", "1b"],
    ),
    "one-hot columns, one folder, a test table": (
        {
            "train.csv": "image_id,healthy,rust\nTrain_0,0,1\nTrain_1,1,0\n",
            "test.csv": "image_id\nTest_0\n",
            "sample_submission.csv": "image_id,healthy,rust\nTest_0,0.5,0.5\n",
            **{f"images/{i}.jpg": "x" for i in ("Train_0", "Train_1", "Test_0")},
        },
        "multiclass",
        ["Train_0", "Train_1"],
        ["Test_0"],
    ),
    "multi-label columns with patients": (
        {
            "train.csv": "uid,a,b,PatientID\n1.2.3,0,1,p\n1.2.4,1,1,p\n1.2.5,0,0,q\n",
            "sample_submission.csv": "uid,a,b\n9.2.3,0,0\n",
            **{f"train/{i}.jpg": "x" for i in ("1.2.3", "1.2.4", "1.2.5")},
            "test/9.2.3.jpg": "x",
        },
        "multilabel",
        ["1.2.3", "1.2.4", "1.2.5"],
        ["9.2.3"],
    ),
    "ids with an ending and a set of labels": (
        {
            "train.csv": "image,labels\na.jpg,rust scab\nb.jpg,scab\nc.jpg,rust\nd.jpg,scab rust\n",
            "sample_submission.csv": "image,labels\nz.jpg,rust\n",
            **{f"train_images/{i}.jpg": "x" for i in "abcd"},
            "test_images/z.jpg": "x",
        },
        "multilabel",
        ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        ["z.jpg"],
    ),
    "folders of patients": (
        {
            "train.csv": "prediction_id,patient_id,image_id,cancer\np1_L,p1,101,0\np2_L,p2,102,1\n",
            "test.csv": "prediction_id,patient_id,image_id\np9_L,p9,901\n",
            "sample_submission.csv": "prediction_id,cancer\np9_L,0.1\n",
            **{f"train_images/p{i}/10{i}.dcm": "x" for i in (1, 2)},
            "test_images/p9/901.dcm": "x",
        },
        "binary",
        ["p1_L", "p2_L"],
        ["p9_L"],
    ),
    "class folders without a table": (
        {f"data/{kind}/{i}.png": "x" for kind in ("cat", "dog", "cow") for i in range(2)},
        "multiclass",
        [f"data/{kind}/{i}.png" for kind in ("cat", "cow", "dog") for i in range(2)],
        [],
    ),
    "class folders of parts of a split": (
        {f"{part}/{kind}/1.png": "x" for part in ("train", "valid", "seg_test") for kind in ("cat", "contest")},
        "binary",
        [f"{part}/{kind}/1.png" for part in ("train", "valid") for kind in ("cat", "contest")],
        [f"seg_test/{kind}/1.png" for kind in ("cat", "contest")],
    ),
    "class folders at different depths": (
        {f"{place}/1.png": "x" for place in ("cat", "more/cat", "dog")},
        "binary",
        ["cat/1.png", "dog/1.png", "more/cat/1.png"],
        [],
    ),
    "labels in file names": (CAT_DOG, "binary", list(CAT_DOG), []),
}


@pytest.mark.parametrize("case", STARTERS)
def test_a_starter_reads_the_files_that_it_was_made_from(case: str, tmp_path: Path) -> None:
    files, task, train_ids, test_ids = STARTERS[case]
    layout = Layout(tmp_path)
    plant(layout.input("new"), files)
    download(layout, "new")
    facts = load_competition(layout, "new")
    assert facts.task.name == task
    train = read_rows(layout.input("new"), facts.train, facts, with_target=True)
    assert train["row_id"].tolist() == train_ids
    assert len(find_outputs(train, facts)) >= 2
    if facts.test is not None:
        assert read_rows(layout.input("new"), facts.test, facts, with_target=False)["row_id"].tolist() == test_ids
    else:
        assert test_ids == []
    assert "metric" in layout.competition_config("new").read_text().split("\ntitle")[0]


def test_a_competition_without_facts_comes_from_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = STARTERS["a table of labels, ids without an ending"][0]
    (tmp_path / "home").mkdir()
    layout = Layout(tmp_path / "project")
    with running_site(tmp_path / "home", monkeypatch) as site:
        site.archive = zipped(files)
        download(layout, "cancer")
    facts = yaml.safe_load(layout.competition_config("cancer").read_text())
    assert facts["source"] == {"kind": "kaggle", "name": "cancer"}
    assert facts["submission"] == {"sample": "sample_submission.csv"}
    download(layout, "cancer")  # valid: nothing is asked of a site that is gone
    assert {name for name in harvest(layout.input("cancer")) if name != "manifest.json"} == set(files)
    assert sorted(path.name for path in (layout.root / "input").iterdir()) == ["cancer"]


def test_a_name_that_kaggle_does_not_know_writes_no_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    layout = Layout(tmp_path / "project")
    with running_site(tmp_path / "home", monkeypatch) as site:
        site.errors["DownloadDataFiles"] = (404, "Not found")
        with pytest.raises(FoldlineError, match="no such competition"):
            download(layout, "elpw")
    assert not (layout.root / "configs").exists()
    assert not list((layout.root / "input").iterdir())


def test_other_files_in_the_folder_that_was_copied_are_said_and_fetched_when_asked_for(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(layout, "toy")
    download(layout, "toy")
    assert "since it was copied" not in capsys.readouterr().out
    raw = plant(tmp_path / "raw", {"deep/b.png": "another", "c.png": "third", "t.csv": "id,label\na.png,1\nb.png,0\n"})
    (raw / "deep" / "a.png").unlink()
    found = download(layout, "toy")
    said = capsys.readouterr().out
    words = "2 files are new, 1 file is gone, 1 file is of another size: c.png, deep/b.png, deep/a.png and 1 more"
    assert f"warning: {raw} since it was copied to input/toy: {words}" in said
    assert "make download COMP=toy REFRESH=1" in said
    assert found["files"] == 2, "nothing is done unasked"
    assert download(layout, "toy", refresh=True)["files"] == 3
    assert sorted(harvest(layout.input("toy"))) == ["c.png", "deep/b.png", "manifest.json", "t.csv"]
    assert [path.name for path in (layout.root / "input").iterdir()] == ["toy"]
    capsys.readouterr()
    download(layout, "toy")
    assert "since it was copied" not in capsys.readouterr().out


def test_what_is_kept_and_what_archives_hold_is_no_change(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    (raw / "more.zip").write_bytes(zipped({"packed.png": "picture"}))
    plant(raw, {"other/x.txt": "x", "Thumbs.db": "junk"})
    change(layout, "kind: folder", "kind: folder, keep: [deep, t.csv, packed.png]")
    download(layout, "toy")
    download(layout, "toy")
    assert "since it was copied" not in capsys.readouterr().out
    plant(raw, {"deep/b.png": "b", "other/y.txt": "y"})
    download(layout, "toy")
    assert "1 file is new: b.png" in capsys.readouterr().out


@pytest.mark.parametrize("mine", [".notes", "deep/mine.txt", "t.csv"])
def test_what_a_person_put_or_changed_among_the_copies_is_never_removed(layout: Layout, mine: str) -> None:
    download(layout, "toy")
    path = layout.input("toy") / mine
    if path.is_file():
        path.chmod(0o644)
    path.write_text("id,label\na.png,0\n")
    before = harvest(layout.input("toy"))
    with pytest.raises(FoldlineError, match="1 file is no cop") as caught:
        download(layout, "toy", refresh=True)
    assert mine in caught.value.what
    assert harvest(layout.input("toy")) == before


def test_files_of_ones_own_are_read_again_and_not_fetched(layout: Layout) -> None:
    change(layout, "kind: folder", "kind: placed")
    plant(layout.input("toy"), {"t.csv": "id,label\n"})
    download(layout, "toy")
    with pytest.raises(FoldlineError, match="are your own") as caught:
        download(layout, "toy", refresh=True)
    assert "rm input/toy/manifest.json" in caught.value.next


def test_a_refresh_that_fails_leaves_the_copies(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    download(layout, "toy")
    before = harvest(layout.input("toy"))
    monkeypatch.setitem(SOURCES, "folder", break_off)
    with pytest.raises(FoldlineError, match="connection broke"):
        download(layout, "toy", refresh=True)
    assert harvest(layout.input("toy")) == before
    assert [path.name for path in (layout.root / "input").iterdir()] == ["toy"]


def test_a_refresh_that_is_killed_between_old_and_new_goes_on(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(layout, "toy")
    plant(tmp_path / "raw", {"c.png": "third"})
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self == layout.part("toy"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            download(layout, "toy", refresh=True)
    assert not layout.input("toy").exists()
    assert download(layout, "toy")["files"] == 3
    assert [path.name for path in (layout.root / "input").iterdir()] == ["toy"]

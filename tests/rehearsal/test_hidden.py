"""A hidden test set of the published layouts: other ids, more lines, and the pictures of training rows."""

from pathlib import Path

import pandas as pd
import pytest

from foldline.core.competition import Competition, load_competition
from foldline.core.tables import read_csv, write_csv
from foldline.images.files.decode import BadImageError, decode
from foldline.readers import find_outputs, read_rows
from foldline.rehearsal.draw import owners
from foldline.rehearsal.hidden import Hidden, Home, build
from foldline.rehearsal.tree import stamp
from foldline.submission.form import sample_path
from shapes.shapes import SHAPES
from shapes.test_shapes import Line
from stacks import STACK_FACTS, write_stacks

MADE = {
    "alaska2-image-steganalysis": "a folder without a table",
    "herbarium-2021-fgvc8": "COCO files with whole numbers for ids, in nested folders, and many classes",
    "iwildcam-2020-fgvc7": "COCO files",
    "plant-pathology-2020-fgvc7": "one folder for training and test pictures",
    "ranzcr-clip-catheter-line-classification": "test rows that stand in the sample alone",
    "rsna-breast-cancer-detection": "several pictures to a line, in folders of patients",
    "rsna-miccai-brain-tumor-radiogenomic-classification": "folders of folders, several pictures to a line",
    "siim-isic-melanoma-classification": "metadata",
    "statoil-iceberg-classifier-challenge": "pixels in JSON",
}


def home_of(slug: str, root: Path) -> Home:
    """A published layout, downloaded; its training rows lie in two folds."""
    line = Line(root, next(shape for shape in SHAPES if shape.slug == slug))
    assert line.run("download") == 0
    facts, raw = load_competition(line.layout, slug), line.layout.input(slug)
    assert facts.test is not None
    train = read_rows(raw, facts.train, facts, with_target=True)
    train = train.assign(fold=[number % 2 for number in range(len(train))])
    visible = read_rows(raw, facts.test, facts, with_target=False)
    sample = sample_path(line.layout, slug, facts)
    return Home(raw, facts, find_outputs(train, facts), train, visible, sample, sample.relative_to(raw).as_posix())


def rows_of(home: Home, target: Path, hidden: Hidden) -> pd.DataFrame:
    """The hidden rows as the facts read them."""
    assert home.facts.test is not None
    found = read_rows(target, home.facts.test, home.facts, with_target=False).set_index("row_id", drop=False)
    return found.loc[hidden.rows["row_id"]]


@pytest.mark.parametrize("slug", MADE)
def test_a_hidden_test_set_has_new_ids_more_lines_and_training_pictures(slug: str, tmp_path: Path) -> None:
    home, target = home_of(slug, tmp_path), tmp_path / "hidden" / slug
    before = stamp(home.root)
    hidden = build(home, target)
    assert hidden.made, hidden.notes
    assert stamp(home.root) == before
    found, known = rows_of(home, target, hidden), home.train.set_index("row_id").loc[hidden.rows["known"]]

    assert not set(found["row_id"]) & {*home.train["row_id"], *home.visible["row_id"]}
    assert found["row_id"].is_unique
    assert owners(found).nunique() >= 2 * owners(home.visible).nunique()
    assert set(home.form(target, target / home.sample_name).kind.lines.entities) == set(hidden.rows["line"])
    assert hidden.rows["fold"].tolist() == known["fold"].tolist()
    for name in home.facts.test.metadata if home.facts.test else ():
        assert found[name].tolist() == known[name].tolist()
    counted = zip(found["image"], known["image"], hidden.rows["counts"], strict=True)
    for image, picture, counts in counted:
        if counts:
            assert (target / image).read_bytes() == (home.root / picture).read_bytes()


def test_a_picture_is_broken_another_has_an_unseen_size_and_a_class_has_no_row(tmp_path: Path) -> None:
    home, target = home_of("herbarium-2021-fgvc8", tmp_path), tmp_path / "hidden" / "herbarium-2021-fgvc8"
    hidden = build(home, target, lines=60)
    odd = rows_of(home, target, hidden)[~hidden.rows["counts"].to_numpy()]
    broken, resized = odd["image"].tolist()
    with pytest.raises(BadImageError):
        decode(target / broken, 3)
    sizes = {decode(home.root / image, 3).shape for image in home.train["image"]}
    assert decode(target / resized, 3).shape not in sizes
    labels = home.train.set_index("row_id")["target"]
    assert set(labels) - set(labels[hidden.rows["known"]]) == {labels.value_counts().sort_index().idxmin()}


def test_where_no_hidden_layout_can_be_made_the_visible_rows_stay_and_it_is_said(tmp_path: Path) -> None:
    slug = "cdiscount-image-classification-challenge"
    home, target = home_of(slug, tmp_path), tmp_path / "hidden" / slug
    hidden = build(home, target)
    assert not hidden.made
    assert "reader bson" in hidden.notes[0]
    assert (target / home.sample_name).read_bytes() == home.sample.read_bytes()
    assert home.facts.test is not None
    assert len(read_rows(target, home.facts.test, home.facts, with_target=False)) == len(home.visible)


def scans(root: Path, order: str, beside: str) -> Home:
    """Scans whose slices have a place of their own beside the number in their names: it falls where that rises."""
    write_stacks(root, 12)
    table = read_csv(root / "train.csv")
    table = table.assign(place=[str(100 - int(number)) for number in table["slice"]])
    tested = table["scan"] >= "s008"
    write_csv(root / "train.csv", table[~tested])
    write_csv(root / "test.csv", table[tested].drop(columns="label"))
    write_csv(root / "sample.csv", table[tested][["scan"]].drop_duplicates().assign(label="0.5"))
    rows = {**STACK_FACTS["train"], "order": order}
    test = {key: value for key, value in rows.items() if key != "target"} | {"file": "test.csv"}
    content = {key: value for key, value in STACK_FACTS.items() if key != "holdout"}
    facts = Competition.parse(
        {**content, "train": rows, "test": test, "submission": {"sample": "sample.csv"}}, where="competition.yaml"
    )
    assert facts.test is not None
    train, visible = (
        read_rows(root, one, facts, with_target=known) for one, known in ((facts.train, True), (facts.test, False))
    )
    return Home(root, facts, ["0", "1"], train.assign(fold=0), visible, root / "sample.csv", "sample.csv", {beside})


@pytest.mark.parametrize("order", ["slice", "place"])
def test_new_rows_of_an_entity_keep_its_order(order: str, tmp_path: Path) -> None:
    """Also where a row's place is a part of its id, which is new."""
    home, target = scans(tmp_path / "tiny", order, "entity"), tmp_path / "hidden" / "tiny"
    hidden = build(home, target)
    assert hidden.made, hidden.notes
    found, known = rows_of(home, target, hidden), home.train.set_index("row_id").loc[hidden.rows["known"]]
    for line in set(hidden.rows["line"]):
        own = (hidden.rows["line"] == line).to_numpy()
        new, old = (rows["order"][own].astype(float).to_numpy().argsort().tolist() for rows in (found, known))
        assert new == old
        assert len(new) > 7


def test_nothing_is_made_where_networks_see_more_than_a_line_together(tmp_path: Path) -> None:
    hidden = build(scans(tmp_path / "tiny", "slice", "group"), tmp_path / "hidden" / "tiny")
    assert not hidden.made
    assert "all pictures of a group beside each other" in hidden.notes[0]

"""A hidden test set of the published layouts: other ids, more lines, and the pictures of training rows."""

from pathlib import Path

import pandas as pd
import pytest

from foldline.core.competition import load_competition
from foldline.images.files.decode import BadImageError, decode
from foldline.readers import find_outputs, read_rows
from foldline.rehearsal.draw import owners
from foldline.rehearsal.hidden import Hidden, Home, build
from foldline.rehearsal.tree import stamp
from foldline.submission.form import sample_path
from shapes.shapes import SHAPES
from shapes.test_shapes import Line

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

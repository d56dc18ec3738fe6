"""The offline run of competitions in their published layouts: lines of several pictures, sets, one file of all."""

from pathlib import Path

import pytest
import yaml

from bundles import raw_copy, write_bundle
from foldline.core.records.bundle import Bundle
from foldline.core.tables import read_csv, read_parquet
from foldline.engine.offline.answers import NO_PICTURE
from foldline.stages.offline import offline
from shapes.shapes import SHAPES
from shapes.test_shapes import RUN, Line

ENTITIES = "rsna-breast-cancer-detection"
SLUGS = (ENTITIES, "cdiscount-image-classification-challenge", "ranzcr-clip-catheter-line-classification")


def predicted(root: Path, slug: str) -> tuple[Line, Path]:
    """A competition with a submission, trained for an epoch, and its bundle."""
    line = Line(root, next(shape for shape in SHAPES if shape.slug == slug))
    run = {**RUN, "train": {**RUN["train"], "epochs": 1}, "predict": {"views": ["identity", "hflip"], "batch_size": 16}}
    (root / "configs" / slug / "tiny.yaml").write_text(yaml.safe_dump(run))
    for stage in ("download", "folds"):
        assert line.run(stage) == 0
    for stage in ("train", "predict", "ensemble"):
        assert line.run(stage, "--run", "tiny") == 0
    return line, write_bundle(line.layout, slug, ["tiny"], root / "bundle")


@pytest.mark.parametrize("slug", SLUGS)
def test_a_shape_is_answered_as_at_home(slug: str, tmp_path: Path) -> None:
    line, bundle = predicted(tmp_path, slug)
    inputs, out = tmp_path / "inputs", tmp_path / "working" / "submission.csv"
    folder = raw_copy(line.layout, slug, inputs)
    report = offline(bundle, inputs, out, device="cpu")
    assert report.priors == {}
    assert out.read_bytes() == line.submission.read_bytes()
    if slug == ENTITIES:
        breaks_pictures(line, bundle, folder, out)


def breaks_pictures(line: Line, bundle: Path, folder: Path, out: Path) -> None:
    """A line whose other picture can be read is about that one; one without any gets the prior."""
    test = read_parquet(line.layout.run(ENTITIES, "tiny") / "test.parquet")
    rows = read_csv(line.layout.test_rows(ENTITIES)).merge(test.drop(columns="entity"), on="row_id")
    one, two = rows["entity"].unique()[:2].tolist()
    some, none = (rows[rows["entity"] == name] for name in (one, two))
    for image in [some["image"].iloc[0], *none["image"]]:
        (folder / image).write_bytes(b"no DICOM")
    report = offline(bundle, folder.parent, out, device="cpu")
    assert report.prior_ids == {NO_PICTURE: [two]}
    answers = read_csv(out).set_index("prediction_id")["cancer"].astype(float)
    prior = Bundle.read(bundle / "bundle.json").prior["1"]
    assert answers[[one, two]].tolist() == pytest.approx([some["prob_1"].iloc[1], prior], abs=1e-6)

"""Table columns as numbers: what a person can check by hand, and what must be refused."""

import json

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.models.metadata import Column, Encoding, fit_encoding, metadata_columns

TRAIN = pd.DataFrame(
    {
        "row_id": ["a", "b", "c", "d"],
        "image": ["a.png"] * 4,
        "target": ["x", "y", "x", "y"],
        "target_x": ["1", "0", "1", "0"],
        "group": ["g"] * 4,
        "entity": ["e"] * 4,
        "age": ["10", "20", "NA", "30"],
        "angle": ["1e0", " 1.0", "1", "1"],
        "site": ["arm", "leg", "arm", ""],
        "fold": [0, 1, 0, 1],
    }
)


def test_by_hand() -> None:
    encoding = fit_encoding(TRAIN, ["site", "age", "angle"])
    std = float(np.std([10, 20, 30]))
    expected: list[list[float]] = [
        [1, 0, 0, -10 / std, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 1, 0, 10 / std, 0, 0],
    ]
    encoded = encoding.encode(TRAIN)
    assert encoded.dtype == np.float32
    assert encoded.shape == (4, encoding.features)
    assert np.allclose(encoded, expected)


def test_comes_back_from_json_the_same() -> None:
    encoding = fit_encoding(TRAIN, ["age", "site"])
    again = Encoding.from_json(json.loads(json.dumps(encoding.as_json(), allow_nan=False)))
    assert again == encoding
    assert np.array_equal(again.encode(TRAIN), encoding.encode(TRAIN))


def test_is_fitted_on_the_rows_that_are_given() -> None:
    """Standardising with rows that a fold must not see would leak them: only the given rows count."""
    first = TRAIN.iloc[:2]
    assert fit_encoding(first, ["age"]).columns[0].mean == 15.0
    assert fit_encoding(first, ["age"]).encode(TRAIN.iloc[3:])[0, 0] == pytest.approx(3.0)


def test_the_order_of_the_rows_changes_nothing() -> None:
    encoding = fit_encoding(TRAIN, ["age", "site", "angle"])
    assert fit_encoding(TRAIN.iloc[::-1], ["age", "site", "angle"]) == encoding
    assert np.array_equal(encoding.encode(TRAIN.iloc[::-1]), encoding.encode(TRAIN)[::-1])


def test_what_training_rows_never_show_is_nothing() -> None:
    """A weight that no training row moved must not meet a test row."""
    encoding = fit_encoding(TRAIN.iloc[:2], ["age", "site"])
    encoded = encoding.encode(pd.DataFrame({"age": ["", "nan"], "site": ["neck", "n/a"]}))
    assert encoding.features == 3
    assert np.array_equal(encoded, np.zeros((2, 3)))


def test_rare_words_share_a_column() -> None:
    common = [f"w{i:02d}" for i in range(50)]
    frame = pd.DataFrame({"site": common * 2 + ["rare1", "rare2"]})
    encoding = fit_encoding(frame, ["site"])
    encoded = encoding.encode(pd.DataFrame({"site": ["w07", "rare1", "rare2", "never seen"]}))
    assert encoding.features == 51
    assert encoded.argmax(1).tolist() == [7, 50, 50, 50]
    assert (encoded.sum(1) == 1).all()


@pytest.mark.parametrize("cells", [["1", "inf"], ["1", "2 kg"], ["", "NA"]])
def test_words_where_not_all_are_finite_numbers(cells: list[str]) -> None:
    assert fit_encoding(pd.DataFrame({"x": cells}), ["x"]).columns[0].kind == "word"


def test_only_metadata_columns() -> None:
    assert metadata_columns(TRAIN) == ["age", "angle", "site"]


@pytest.mark.parametrize("name", ["height", "target", "target_x", "fold", "group", "row_id"])
def test_other_columns_are_refused(name: str) -> None:
    with pytest.raises(FoldlineError, match=f"no metadata column {name}") as caught:
        fit_encoding(TRAIN, ["age", name])
    assert "age, angle, site" in caught.value.next
    assert "train.metadata" in caught.value.next


def test_a_column_that_test_rows_lack_is_refused() -> None:
    encoding = fit_encoding(TRAIN, ["age", "site"])
    with pytest.raises(FoldlineError, match="only the training rows have the column site: it cannot be a feature"):
        encoding.encode(TRAIN.drop(columns=["site"]))


def test_a_word_among_numbers_is_refused() -> None:
    with pytest.raises(FoldlineError, match="'age' holds numbers in the training rows, and 'old' here"):
        fit_encoding(TRAIN, ["age"]).encode(pd.DataFrame({"age": ["old"]}))


def test_no_columns_no_features() -> None:
    assert fit_encoding(TRAIN, []).encode(TRAIN).shape == (4, 0)


def test_missing_is_the_same_for_numbers_and_words() -> None:
    rows = pd.DataFrame({"age": ["30", "None", "<NA>", "50"], "site": ["arm", "none", "N/A", "leg"]})
    encoding = fit_encoding(rows, ["age", "site"])
    assert [column.kind for column in encoding.columns] == ["number", "word"]
    assert encoding.encode(rows)[:, 1].tolist() == [0, 1, 1, 0]
    assert encoding.columns[1].words == ("", "arm", "leg")


def test_a_word_that_an_earlier_encoding_knows_stays_a_word() -> None:
    """Encodings of before took `none` for a word."""
    column = Column("site", "word", words=("none", "arm", ""))
    assert column.encode(pd.Series(["none", "", "arm"])).argmax(axis=1).tolist() == [0, 2, 1]

"""What the README shows works: its facts files are valid, and its example of class folders is split."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from foldline.cli import main
from foldline.core.competition import Competition
from foldline.core.tables import read_csv
from foldline.core.yaml_models import parse_yaml

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_facts_are_valid(block: str) -> None:
    Competition.parse(parse_yaml(block, where="README.md"), where="README.md")


def test_the_example_of_class_folders_is_split(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            picture = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "pictures" / name / f"{i}.png"), picture)
    facts = next(block for block in BLOCKS if "kind: folder" in block)
    path = tmp_path / "configs" / "mine" / "competition.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(facts.replace("/path/to/my/pictures", str(tmp_path / "pictures")))
    for stage in ("download", "folds"):
        assert main([stage, "--root", str(tmp_path), "--comp", "mine"]) == 0
    assert sorted(set(read_csv(tmp_path / "folds" / "mine.csv")["target"])) == ["cat", "dog"]

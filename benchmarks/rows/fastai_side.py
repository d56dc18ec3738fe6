"""fastai's side of the rows: trains, or predicts, on a project's pictures. Needs requirements-bench.txt.

python fastai_side.py train FOLDER NETWORK SIDE BATCH EPOCHS [COMP]
"""

import sys
from pathlib import Path
from typing import Any


def learner(folder: Path, network: str, side: int, batch: int, comp: str = "made") -> Any:
    """A learner on fold 0's rows, its validation rows those of fold 0; random weights, as on foldline's side."""
    import pandas as pd
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        Resize,
        accuracy,
        aug_transforms,
        vision_learner,
    )

    frame = pd.read_csv(folder / "folds" / f"{comp}.csv")
    frame["is_valid"] = frame["fold"] == 0
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("image", pref=str(folder / "input" / comp) + "/"),
        get_y=ColReader("target"),
        splitter=ColSplitter("is_valid"),
        item_tfms=Resize(side),
        batch_tfms=aug_transforms(max_rotate=0, max_zoom=1, max_lighting=0, max_warp=0),
    )
    data = block.dataloaders(frame, bs=batch, num_workers=0)
    return vision_learner(data, network, pretrained=False, metrics=accuracy)


def main(words: list[str]) -> None:
    """Trains as long as foldline does."""
    _, folder, network, side, batch, epochs, *comp = words
    learner(Path(folder), network, int(side), int(batch), *comp).fit_one_cycle(int(epochs), 1e-3)


if __name__ == "__main__":
    main(sys.argv[1:])

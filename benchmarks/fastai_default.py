"""fastai's defaults on one fold of a project: `vision_learner(...).fine_tune(epochs)`. Needs requirements-bench.txt.

    python fastai_default.py FOLDER COMP FOLD SEED NETWORK WEIGHTS SIDE EPOCHS OUT

Reads `folds/<comp>.csv` and the pictures; WEIGHTS is a state dict in timm's names. All that is no argument is
fastai's own: batch 64, rate 2e-3, its head, its augmentation, one frozen epoch first, batch-norms that train. Writes to
OUT what the fold's validation rows are predicted as: row_id and a column a class.
"""

import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Trains and predicts."""
    import pandas as pd
    from fastai.vision import all as vision

    folder, comp, fold, seed, network, weights, side, epochs, out = words
    frame = pd.read_csv(Path(folder) / "folds" / f"{comp}.csv", dtype=str, keep_default_na=False)
    frame["is_valid"] = frame["fold"] == fold
    vision.set_seed(int(seed), reproducible=True)
    block = vision.DataBlock(
        blocks=(vision.ImageBlock, vision.CategoryBlock),
        get_x=vision.ColReader("image", pref=f"{folder}/input/{comp}/"),
        get_y=vision.ColReader("target"),
        splitter=vision.ColSplitter("is_valid"),
        item_tfms=vision.Resize(int(side)),
        batch_tfms=vision.aug_transforms(),
    )
    data = block.dataloaders(frame, num_workers=0)
    overlay = {"file": weights}
    learn = vision.vision_learner(
        data, network, pretrained=True, metrics=vision.accuracy, pretrained_cfg_overlay=overlay
    )
    with learn.no_bar():
        learn.fine_tune(int(epochs))
        prob, _ = learn.get_preds()
    table = pd.DataFrame(prob.numpy(), columns=list(data.vocab))
    table.insert(0, "row_id", frame.loc[frame["is_valid"], "row_id"].to_numpy())
    table.to_csv(out, index=False)


if __name__ == "__main__":
    main(sys.argv[1:])

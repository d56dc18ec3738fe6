"""What a run could try where its training went wrong, without what it does already. Pure."""

from foldline.core.run import Run


def ways_out(run: Run) -> str:
    """What to try where fine-tuning ends below its own start, without what the run does already."""
    ways = ["lower optim.lr"]
    ways += ["set train.batch_norm=frozen"] if run.train.batch_norm != "frozen" else []
    ways += ["set optim.layer_decay=0.8"] if run.optim.layer_decay == 1 else []
    ways += ["augment less"] if run.augment.recipe != "none" or run.augment.transforms else []
    return f"{', '.join(ways[:-1])}, or {ways[-1]}" if len(ways) > 1 else ways[0]

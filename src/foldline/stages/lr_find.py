"""Stage lr-find: where the loss falls fastest. Reads folds and images; writes `lr_find.svg` and `.csv` for a run.

Nothing is trained: the weights of the sweep are dropped, and no setting is changed.
"""

from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.run import load_run
from foldline.core.run_folder import known_fold

LOW, HIGH, STEPS = 1e-6, 1.0, 100


def lr_find(
    layout: Layout,
    comp: str,
    run: str,
    *,
    fold: int | None = None,
    overrides: list[str],
    device: str = "auto",
    steps: int = STEPS,
) -> float:
    """Trains the fold for some steps at rates that grow from 1e-6 to 1, and suggests a learning rate.

    Returns:
        The rate at which the loss falls most steeply. For `schedule.name: one_cycle` it may be the peak; for small
        data sets and pretrained networks a third of it is often better.

    Raises:
        FoldlineError: the run or its folds are wrong, or the loss never fell.
    """
    choices = load_run(layout, comp, run, overrides)
    fold = known_fold(fold or 0, load_folds(layout, comp).k)
    import pandas as pd

    from foldline.core.tables import write_csv
    from foldline.engine.lr_find import smoothed, suggest, sweep_fold
    from foldline.report.run.rate_figure import draw_rates

    sweep = sweep_fold(layout, comp, choices, fold, device, low=LOW, high=HIGH, steps=steps)
    rates, losses = [rate for rate, _ in sweep], [loss for _, loss in sweep]
    folder = layout.run(comp, run)
    write_csv(folder / "lr_find.csv", pd.DataFrame({"lr": rates, "loss": losses}))
    rate = suggest(rates, losses)
    draw_rates(folder / "lr_find.svg", rates, losses, smoothed(losses), rate)
    curve = layout.relative(folder / "lr_find.svg")
    say(f"the loss falls fastest at {rate:.1e}: optim.lr now is {choices.optim.lr:g}; the whole curve: {curve}")
    return rate

"""What a reader must know before believing the score. A run in, remarks in words out."""

from dataclasses import dataclass
from math import isfinite

from foldline.core.advice import ways_out
from foldline.core.records.same import differences
from foldline.core.run import Run
from foldline.report.look import formats
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.metrics import metric_for
from foldline.scoring.metrics.for_task import without_score


@dataclass(frozen=True)
class Remark:
    """One warning: a title, what was found, and what to do."""

    name: str
    title: str
    text: str


def remarks(run: ReportedRun) -> list[Remark]:
    """All warnings of a run, the gravest first; empty when there is nothing to say."""
    checks = (
        _diverged,
        _of_other_networks,
        _unconfirmed,
        _no_better,
        _optimistic,
        _below_probe,
        _other_folds,
        _fold_checks,
        _rows_missing,
        _undefined,
    )
    return [remark for check in checks if (remark := check(run)) is not None]


def _diverged(run: ReportedRun) -> Remark | None:
    if not run.cv.diverged:
        return None
    return Remark(
        "diverged",
        "The training diverged",
        f"{formats.printable('; '.join(run.cv.diverged), 2000)}. Scores and submission are of these networks too: "
        "train the run anew with a smaller learning rate (optim.lr) or clipped gradients (optim.clip=norm).",
    )


def _of_other_networks(run: ReportedRun) -> Remark | None:
    """A network on all rows, as the run itself or among the members of an ensemble."""
    whose = {run.run: run.cv.oof_of, **{name: cv.oof_of for name, cv in run.members.items() if cv is not None}}
    named = {name: of for name, of in whose.items() if of}
    if not named:
        return None
    words = formats.listing([f"{name}: by the folds of {of}" for name, of in named.items()])
    return Remark(
        "all-rows",
        "The score is of other networks than those that predict the test rows",
        f"{formats.printable(words, 500)}. A network that was trained on all rows has none left to be scored on. It is "
        "as good as its folds or a little better, as far as more rows help; no row here can show that.",
    )


def _unconfirmed(run: ReportedRun) -> Remark | None:
    if not run.facts.unconfirmed:
        return None
    return Remark(
        "unconfirmed",
        f"Guessed from the files, and not confirmed: {formats.listing(run.facts.unconfirmed)}",
        f"What counts may be something else than {run.metric}. Mend the facts, "
        f"{run.layout.relative(run.layout.competition_config(run.comp))}, "
        f"{'by its page' if run.facts.url else 'where they are wrong'}, and delete their line `unconfirmed`.",
    )


def _no_better(run: ReportedRun) -> Remark | None:
    """Where the constant answer is as good, as far as the rows can tell."""
    plain, (low, high) = run.baseline.score, run.cv.interval
    if run.cv.pooled is None or not isfinite(plain) or low is None or high is None:
        return None
    if (low > plain) if run.cv.direction == "max" else (high < plain):
        return None
    ends = f"{formats.score(low, run.decimals)} to {formats.score(high, run.decimals)}"
    return Remark(
        "no-better",
        "The score cannot be told from that of an answer that never looks at a picture",
        f"The same answer for every row scores {formats.score(plain, run.decimals)}, and the interval of the run is "
        f"{ends}. Look whether the pictures and labels belong together, train longer or with another learning rate "
        "(make lr-find), or collect more rows.",
    )


def _optimistic(run: ReportedRun) -> Remark | None:
    reasons = [formats.printable(reason) for reason in run.cv.optimistic]
    if not reasons:
        return None
    text = "; ".join(reason.strip().rstrip(".") for reason in reasons)
    return Remark(
        "optimistic",
        "The out-of-fold score is optimistic",
        f"{text[:1].upper()}{text[1:]}. Expect less on new pictures than the score says. "
        "A fixed number of epochs (train.select=last) with a schedule of the steps alone has no such bias.",
    )


def _below_probe(run: ReportedRun) -> Remark | None:
    below = sorted(set(run.cv.below_probe) | {k for k, meta in run.metas.items() if meta.below_probe})
    if not below:
        return None
    folds = "fold" if len(below) == 1 else "folds"
    return Remark(
        "below-probe",
        f"Fine-tuning made {folds} {formats.listing([str(k) for k in below])} worse than the linear probe",
        f"{_probe_scores(run, below)}The linear probe on frozen features, where fine-tuning started, was better. "
        f"{_way_out(run)}",
    )


def _way_out(run: ReportedRun) -> str:
    """What to try; a run that keeps its start is told what this already does for it."""
    if any(len(meta.weights) > 1 for meta in run.metas.values()):
        return "This run averages both (train.keep_start), and all other scores here are of that average."
    ways = ways_out(Run() if run.choices is None else Run.parse(run.choices, where="run.json"))
    return f"What to try: {ways}; train.epochs=0 keeps the probe, train.keep_start=true averages both."


def _probe_scores(run: ReportedRun, below: list[int]) -> str:
    known = [(k, meta) for k, meta in run.metas.items() if k in below and meta.probe_score is not None]
    lines = [
        f"fold {k} went from {formats.score(meta.probe_score)} to {formats.score(meta.score)}" for k, meta in known
    ]
    text = formats.listing(lines) if lines else ""
    return f"{text[:1].upper()}{text[1:]}. " if text else ""


def _other_folds(run: ReportedRun) -> Remark | None:
    if not differences(run.cv, folds=run.folds_sha256):
        return None
    return Remark(
        "other-folds",
        "The folds file has changed since this run was scored",
        "Scores of this run cannot be compared with those of runs on the present folds, and pictures may be "
        "missing. Train and predict again to use the present folds.",
    )


def findings(run: ReportedRun) -> tuple[list[str], list[str]]:
    """What the checks of the folds found: (warnings without that word, plain findings)."""
    lines = [formats.printable(line) for line in run.folds_meta.checks]
    warned = [line.removeprefix("warning:").strip() for line in lines if line.startswith("warning:")]
    return warned, [line for line in lines if not line.startswith("warning:")]


def _fold_checks(run: ReportedRun) -> Remark | None:
    warned, _ = findings(run)
    return Remark("fold-checks", "The checks of the folds warn", "; ".join(warned) + ".") if warned else None


def _rows_missing(run: ReportedRun) -> Remark | None:
    missing = run.rows_expected - len(run.oof)
    if missing <= 0:
        return None
    return Remark(
        "rows-missing",
        f"{formats.count(missing)} of {formats.count(run.rows_expected)} training rows have no prediction",
        "They were left out, for instance as pictures that cannot be decoded (data.bad_images=skip). "
        "The score says nothing about them.",
    )


def _undefined(run: ReportedRun) -> Remark | None:
    folds = [str(k) for k, value in zip(run.fold_numbers, run.cv.per_fold, strict=True) if value is None]
    if not folds:
        return None
    reasons = without_score(metric_for(run.cv.metric, run.task), run.truth, run.task)
    usual = "A fold that holds only one class has no such score. The pooled score counts its rows all the same."
    return Remark(
        "undefined",
        f"{run.metric} is undefined in fold {formats.listing(folds)}",
        f"{'; '.join(reasons)}." if reasons else usual,
    )

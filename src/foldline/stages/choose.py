"""Stage choose: which two submissions to select before a competition ends. Reads ledger and runs; writes nothing."""

from foldline.core.paths import Layout
from foldline.core.progress import say, say_table
from foldline.report.comparison import final_words
from foldline.report.comparison.finals import Finals, read_finals
from foldline.scoring.metrics import metric_for


def choose(layout: Layout, comp: str) -> Finals:
    """Proposes the two final submissions, the best by CV and the best different one; says why and how sure that is.

    Raises:
        FoldlineError: the ledger is empty, or none of its entries has a score that can be trusted.
    """
    finals = read_finals(layout, comp)
    facts = finals.facts
    direction = "higher" if metric_for(facts.metric, facts.task).direction == "max" else "lower"
    say(f"{len(finals.known)} in the ledger of {comp}; {facts.metric}, {direction} is better\n")
    say_table(final_words.table(finals))
    say("")
    for line in final_words.reasons(finals):
        say(line)
    return finals

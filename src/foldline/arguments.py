"""What the sub-commands take: each argument once (how its text is read: `values.py`). Nothing heavy is imported."""

from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import USUAL_RUN

LONGEST = 4000  # letters of an argument

ABOUT = "which competition, run and files"
HOW = "how"
EVERYWHERE = "everywhere"

# `group` is where --help lists it (default: HOW), all else is argparse's. `choices` are checked in `helping.py`.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "--comp": {"group": ABOUT, "metavar": "NAME", "help": "the competition: its facts are configs/<comp>/"},
    "--run": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": USUAL_RUN,
        "help": "the run: its choices are configs/<comp>/<run>.yaml, or configs/<run>.yaml for all "
        f"(default: {USUAL_RUN})",
    },
    "--name": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": "",
        "help": "the name of the run that --set makes, or of an ensemble (default: --run's, or the runs joined by +)",
    },
    "--runs": {
        "group": ABOUT,
        "metavar": '"A B"',
        "default": "",
        "help": "several runs, separated by blanks (default: --run alone; for compare all of these folds)",
    },
    "--against": {
        "group": ABOUT,
        "metavar": "NAME",
        "default": "",
        "help": "a further run to compare every other one with",
    },
    "--search": {
        "group": ABOUT,
        "metavar": "NAME",
        "dest": "name",
        "required": True,
        "help": "the search: configs/<comp>/<search>.search.yaml",
    },
    "--fold": {
        "group": ABOUT,
        "metavar": "K",
        "default": "all",
        "help": "one fold, 0 to k - 1, or all; lr-find takes 0 for all (default: all)",
    },
    "--shard": {
        "metavar": "I/N",
        "default": "all",
        "help": "a share of the rows, 0/N to N-1/N, for several processes; predict without it joins what they made "
        "(default: all)",
    },
    "--shards": {
        "metavar": "N",
        "default": "",
        "help": "on a cluster: into how many shares the rows go (default: as many as it can do at once)",
    },
    "--folds": {
        "group": ABOUT,
        "metavar": '"0 1"',
        "default": "",
        "help": "folds that take part, separated by blanks (default: all)",
    },
    "--folder": {
        "group": ABOUT,
        "metavar": "FOLDER",
        "type": Path,
        "default": None,
        "help": "an exported folder, instead of --comp and --run",
    },
    "--inputs": {
        "group": ABOUT,
        "metavar": "FOLDER",
        "type": Path,
        "required": True,
        "help": "the folder that holds the competition's, as /kaggle/input does",
    },
    "--metadata": {
        "group": ABOUT,
        "metavar": "FILE",
        "type": Path,
        "default": None,
        "help": "a CSV with the column path and what the networks read beside the picture",
    },
    "format": {"choices": ["folder", "onnx"], "help": "what the model becomes: folder or onnx"},
    "file": {"type": Path, "help": "the CSV to check"},
    "kind": {
        "choices": ["facts", "run", "features"],
        "help": "facts: competition.yaml; run: a file of choices; features: such a file of frozen features",
    },
    "shell": {"choices": ["bash", "zsh"], "help": "bash or zsh"},
    "files": {"type": Path, "nargs": "*", "help": "picture files, and folders with pictures"},
    "--set": {
        "metavar": '"KEY=VALUE ..."',
        "dest": "overrides",
        "default": "",
        "help": 'settings that differ from the run file, "optim.lr=3e-4 train.epochs=5"; docs/runs.md lists them all',
    },
    "--device": {
        "metavar": "DEVICE",
        "default": "auto",
        "help": "auto, cpu, cuda, cuda:1 or mps; auto: a GPU where there is one (default: auto)",
    },
    "--ranks": {
        "metavar": "N",
        "default": "1",
        "help": "so many GPUs train each fold together, a process each (with --device cpu: processes on the CPU); the "
        "run and its batch_size mean the same (default: 1)",
    },
    "--jobs": {
        "metavar": "N",
        "default": "1",
        "help": "folds at once, each in a process of its own; auto: one a GPU, and one on a CPU (default: 1)",
    },
    "--on": {
        "choices": ["here", "ray"],
        "default": "here",
        "help": "ray: on a cluster, docs/scale.md; needs the extra `ray` (default: here)",
    },
    "--address": {
        "metavar": "ADDRESS",
        "default": "auto",
        "help": "of the cluster: auto is the one that this machine belongs to, local this machine alone, else "
        "ray://head:10001 (default: auto)",
    },
    "--gpus": {
        "metavar": "N",
        "default": "",
        "help": "on a cluster: GPUs that a task takes (default: 1, without GPUs there 0)",
    },
    "--cpus": {
        "metavar": "N",
        "default": "",
        "help": "on a cluster: cores that a task takes (default: its GPUs' share of a machine's, else a machine)",
    },
    "--blend": {
        "choices": [
            "mean",
            "gmean",
            "rank_mean",
            "weights",
            "class_weights",
            "hill_climb",
            "temperature",
            "stack",
            "stack_lightgbm",
        ],
        "default": "mean",
        "metavar": "HOW",
        "help": "how predictions are joined: mean, gmean, rank_mean; or fitted to OOF, scored on rows that were "
        "blended without their fold: weights, class_weights, hill_climb, temperature, stack, "
        "stack_lightgbm (docs/blends.md; default: mean)",
    },
    "--prior": {
        "choices": ["train", "em"],
        "default": "train",
        "help": "em: correct test predictions for the shares of classes that they show (Saerens 2002), and say what "
        "that is worth; a single run needs --name for it (default: train)",
    },
    "--decide": {
        "default": "fitted",
        "choices": ["default", "fitted"],
        "help": "how labels are decided: fitted on the OOF predictions where that is better by cross-fitting, or "
        "always the default, largest probability or 0.5 (default: fitted)",
    },
    "--rounds": {"metavar": "N", "default": "3", "help": "how many rounds at the most (default: 3)"},
    "--options": {
        "metavar": '"KEY=VALUE ..."',
        "default": "",
        "help": 'of extra.pseudo, "least=0.8 soft=1" (docs/runs.md)',
    },
    "--action": {
        "choices": ["ask", "exclude", "relabel"],
        "default": "ask",
        "help": "what is done about suspected labels: ask writes a file to fill in; exclude and relabel train a run "
        "that does so by itself (default: ask)",
    },
    "--with-diverged": {"action": "store_true", "help": "also take runs of which a fold's training diverged"},
    "--views": {
        "metavar": '"A B"',
        "default": "",
        "help": 'test-time views that take part, "identity hflip" (default: the run\'s)',
    },
    "--port": {
        "metavar": "PORT",
        "default": "8765",
        "help": "the page is at http://127.0.0.1:PORT/; 0: a free one (default: 8765)",
    },
    "--test": {"action": "store_true", "help": "show test pictures and their held-out labels; do not choose by them"},
    "--message": {"metavar": "TEXT", "default": "", "help": "what Kaggle shows beside it (default: name and CV score)"},
    "--yes": {
        "action": "store_true",
        "help": "ask nothing: neither whether guesses are right, nor before one of the day's slots is spent",
    },
    "--label": {
        "group": ABOUT,
        "metavar": "WORDS",
        "default": "",
        "help": "what is the label: first-folder, last-folder, file-name, a pattern '{label}_*', or a table's column",
    },
    "path": {"type": Path, "nargs": "?", "default": None, "help": "a folder of pictures, or a table of them"},
    "--out": {
        "metavar": "PATH",
        "type": Path,
        "default": None,
        "help": "where to write (default: predictions.csv or submission.csv in the working folder; exports/<comp>/)",
    },
    "--half": {"action": "store_true", "help": "weights in half precision, where the score holds"},
    "--each": {"action": "store_true", "help": "onnx: a file a fold, in place of one that averages them"},
    "--push": {
        "metavar": "OWNER/NAME",
        "default": "",
        "help": "upload the exported folder to this repository of the Hugging Face hub (private)",
    },
    "--bad-images": {
        "default": "skip",
        "choices": ["skip", "stop"],
        "help": "a picture that cannot be read: skip names it and leaves its line empty, stop is an error "
        "(default: skip)",
    },
    "--gpu": {"default": "t4", "choices": ["t4", "l4", "none"], "help": "Kaggle's accelerator (default: t4)"},
    "--hours": {
        "metavar": "HOURS",
        "default": "9",
        "help": "how long the notebook may take, as the competition's rules say (default: 9)",
    },
    "--minutes": {
        "metavar": "MINUTES",
        "default": "",
        "help": "how long training and prediction may take; a first run has as many epochs as fit (default: by the "
        "number of pictures)",
    },
    "--hidden-rows": {
        "metavar": "N",
        "default": "",
        "help": "pictures of the hidden test set, for the forecast (default: the facts' hidden_rows)",
    },
    "--owner": {
        "metavar": "NAME",
        "default": "",
        "help": "your name at Kaggle (default: as its client's settings say)",
    },
    "--kernel": {"action": "store_true", "help": "submit the bundle submissions/<comp>/<name>.kernel/ as a notebook"},
    "--force": {"action": "store_true", "help": "a notebook that was not rehearsed, or failed at Kaggle, all the same"},
    "--refresh": {
        "action": "store_true",
        "help": "fetch the files anew, in place of the copies that are there; your own files are never removed",
    },
    "--fast": {
        "action": "store_true",
        "help": "rehearse: in this environment, without installing the bundle's wheels; explore: smaller samples",
    },
    "--features": {"action": "store_true", "help": "compute the run's frozen features where none are kept yet"},
    "--limit": {
        "metavar": "SECONDS",
        "default": "",
        "help": "how long the notebook may take (default: the bundle's hours)",
    },
    "--memory": {
        "metavar": "GB",
        "default": "",
        "help": "rehearse: memory that the notebook may take (default: 29, as on Kaggle); on a cluster: that a task "
        "takes, which keeps tasks apart",
    },
    "--lines": {
        "metavar": "N",
        "default": "",
        "help": "lines of the hidden sample submission (default: twice the visible, at most 2000)",
    },
    "--greedy": {
        "action": "store_true",
        "help": "of each fold only those runs' weights that make the other folds' scores better",
    },
    "--offline": {"action": "store_true", "help": "ask no site whether it can be reached"},
    "--json": {
        "group": EVERYWHERE,
        "dest": "as_json",
        "action": "store_true",
        "help": "print the result as one JSON value on standard output; all else goes to standard error",
    },
    "--root": {
        "group": EVERYWHERE,
        "metavar": "FOLDER",
        "type": Path,
        "default": Path(),
        "help": "the project folder, which holds configs/, input/, folds/, oof/ (default: this one)",
    },
    "--quiet": {
        "group": EVERYWHERE,
        "action": "store_true",
        "help": "say errors, warnings and the last result alone",
    },
    "--log": {
        "group": EVERYWHERE,
        "default": "text",
        "choices": ["text", "json"],
        "help": "json: what is said becomes one JSON object a line, progress too",
    },
    "--debug": {"group": EVERYWHERE, "action": "store_true", "help": "show the traceback of an error"},
}
COMMON = "--root --quiet --log --debug"  # what every command takes


def require_text(key: str, text: str, *, file: bool) -> None:
    """Raises FoldlineError for an argument that no file can hold; the name of a file may be any that the system has."""
    try:
        text.encode("utf-8", "surrogateescape" if file else "strict")
    except UnicodeEncodeError:
        text = "\0" + text
    if "\0" in text or len(text) > LONGEST:
        raise FoldlineError(
            f"{text[:50]!r} is no text in UTF-8 of up to {LONGEST} letters", where=f"--{key}", next="write it anew"
        )

"""The table of commands: one entry each; what they take stands in `arguments.py`. Nothing heavy is imported here."""

from dataclasses import dataclass

GROUPS = {
    "start": "start: pictures in, folds out",
    "train": "train and predict",
    "look": "look at what came out",
    "hand in": "hand in a submission, or a notebook",
    "away": "take a finished model away",
    "machine": "this machine, and this command",
}


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes:
        words: what it does, one short line.
        function: `module:name` of `foldline.stages`; `.module:name` of foldline itself (`.composed:ensemble`). It is
            called with layout, competition (where it has one), and its arguments by name.
        arguments: which of `ARGUMENTS` it has, separated by blanks.
        group: where `foldline --help` lists it, a key of `GROUPS`.
        more: what it reads and writes, and what one should know; shown by its own `--help`.
        examples: command lines without `foldline` -> what they do; shown by its own `--help`.
        of_one: it is about one finished run or submission: `--name`, else `--run`, is its third argument.
        comp: the competition where `--comp` is not given; None: all of them. "-": it is about none, has no `--comp`,
            and its function gets the layout alone.
    """

    words: str
    function: str
    arguments: str = ""
    group: str = "machine"
    more: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    of_one: bool = False
    comp: str | None = "elpv"


COMMANDS: dict[str, Stage] = {
    "run": Stage(
        "the whole line: from a folder of pictures, or a competition, to a report",
        ".composed:run",
        "path --label --run --name --set --device --yes",
        group="start",
        more="Looks at the folder or table, says what it understood, writes configs/<comp>/competition.yaml and "
        "configs/<comp>/<run>.yaml to read and edit, then trains, predicts and writes oof/<comp>/<run>/report.html. "
        "The same command again goes on where it stopped. Without a path: the facts of --comp.",
        examples=(
            ("run pictures/", "class folders, with or without train/ and test/ above them"),
            ("run labels.csv --label diagnosis", "a table that names pictures below its folder"),
            ("run pictures/ --label first-folder --yes", "nested folders; ask nothing"),
            ("run --comp elpv", "what is not done yet of a competition that has facts"),
        ),
        comp=None,
    ),
    "init": Stage(
        "look at a folder or table of pictures, and write its facts alone",
        ".composed:init",
        "path --label --yes",
        group="start",
        more="Writes configs/<comp>/competition.yaml, where each guess stands with its reason. Without a path: of the "
        "raw files that lie in input/<comp>.",
        examples=(("init pictures/", "the facts of your pictures"), ("init --comp cancer", "those of input/cancer/")),
        comp=None,
    ),
    "download": Stage(
        "fetch the raw files of a competition into input/<comp>/",
        "download:download",
        "",
        group="start",
    ),
    "folds": Stage(
        "split the training rows into folds, folds/<comp>.csv",
        "folds:folds",
        "",
        group="start",
    ),
    "lr-find": Stage(
        "train some steps at growing rates, and suggest a learning rate",
        "lr_find:lr_find",
        "--run --set --device --fold",
        group="train",
    ),
    "train": Stage(
        "fine-tune one fold (--fold 0), or all that are not finished",
        "train:train",
        "--run --name --set --device --fold",
        group="train",
    ),
    "predict": Stage(
        "predict OOF and test rows with the folds' models, and the cross-validation score",
        "predict:predict",
        "--run --name --set --device",
        group="train",
    ),
    "ensemble": Stage(
        "blend runs into a submission, and write the report",
        ".composed:ensemble",
        "--run --name --set --runs --blend --decide --with-diverged",
        group="train",
    ),
    "soup": Stage(
        "average the weights of runs, or of a run's network and its start, within each fold: one network a fold",
        ".composed:soup",
        "--run --runs --name --device",
        group="train",
    ),
    "search": Stage(
        "search settings, configs/<comp>/<name>.search.yaml; the winner becomes a run file",
        "search:search",
        "--search --device",
        group="train",
    ),
    "watch": Stage(
        "serve a page that follows a run while it trains",
        "watch:watch",
        "--run --name --port --test",
        group="look",
        of_one=True,
    ),
    "report": Stage(
        "write a run's report.html",
        "report:report",
        "--run --name",
        group="look",
        of_one=True,
    ),
    "compare": Stage(
        "show runs side by side with paired differences, oof/<comp>/compare.html",
        "compare:compare",
        "--runs --against",
        group="look",
    ),
    "score": Stage(
        "grade a submission on held-out labels",
        "score:score_submission",
        "--run --name",
        group="look",
        of_one=True,
    ),
    "check": Stage(
        "check a CSV against the sample submission",
        "check:check",
        "file",
        group="hand in",
    ),
    "submit": Stage(
        "send a submission to Kaggle, with --kernel a bundle as a notebook, and wait for its score",
        ".composed:submit",
        "--run --name --message --yes --kernel --force",
        group="hand in",
        of_one=True,
    ),
    "kernel": Stage(
        "make a notebook that predicts at Kaggle without network, and say how long it will take",
        "kernel:kernel",
        "--run --name --runs --gpu --hours --hidden-rows --owner --folds --views --with-diverged --device",
        group="hand in",
    ),
    "offline": Stage(
        "do what a bundle's notebook does at Kaggle, with files that lie here",
        "offline:offline_here",
        "--run --name --inputs --out --device",
        group="hand in",
        of_one=True,
    ),
    "choose": Stage(
        "propose the two final submissions: best CV, and best different one",
        "choose:choose",
        "--json",
        group="hand in",
    ),
    "rehearse": Stage(
        "run a bundle's notebook here as Kaggle would, on a hidden test set made of training rows, and grade its file",
        "rehearse:rehearse",
        "--run --name --fast --limit --memory --lines",
        group="hand in",
        of_one=True,
    ),
    "ledger": Stage(
        "list all submissions, or those of --comp, with their CV and leaderboard scores",
        "submit:ledger",
        "",
        group="hand in",
        comp=None,
    ),
    "predict-files": Stage(
        "predict new pictures with a finished run or ensemble",
        "predict_files:predict_files",
        "files --run --name --out --folder --metadata --bad-images --device",
        group="away",
        of_one=True,
    ),
    "export": Stage(
        "write a finished run or ensemble as a folder of its own (exports/<comp>/<run>), or as one ONNX file",
        ".composed:export",
        "format --run --name --out --half --push --each --views --device",
        group="away",
        of_one=True,
    ),
    "app": Stage(
        "serve a page that asks a finished run about pictures, and browses its rows",
        "app:app",
        "--run --name --device --port --test",
        group="away",
        of_one=True,
    ),
}

"""The facts of a competition, read from `configs/<comp>/competition.yaml`. Nobody chooses them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from foldline.core.errors import unknown
from foldline.core.own_code import locate
from foldline.core.paths import Layout, shipped
from foldline.core.source_facts import Source
from foldline.core.task import TaskField
from foldline.core.yaml_models import Seed, Side, Strict, ascending, load_yaml

Ends = Annotated[tuple[float, float], AfterValidator(ascending)]
Open = Annotated[float, Field(allow_inf_nan=True)]


def _known_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except LookupError as error:
        raise ValueError("no such encoding; usual ones: utf-8, cp1252, latin-1, utf-16, shift_jis, gbk") from error
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]
Separator = Annotated[str, Field(min_length=1, pattern=r"\A[^\r\n]+\z")]


class Target(Strict):
    """How a raw label becomes a class name, a number, or one number for each class."""

    column: str | None = Field(None, description="the column or template that holds the label")
    columns: list[str] | None = Field(
        None,
        description="one column for each class (one-hot, multi-label, soft votes), for each number (regression), "
        "or for each of several targets (default: columns of their names)",
    )
    separator: Separator | None = Field(
        None, description="what separates the labels of a set in one cell, exactly these characters"
    )
    per: str | None = Field(
        None, description="for long tables (a line for each row and class): the column that names the line's class"
    )
    thresholds: list[float] | None = Field(
        None, description="a number becomes class i where i thresholds are <= it; `classes` names them"
    )
    names: dict[str, str] | None = Field(None, description="raw label -> class name; labels not named keep theirs")
    names_file: str | None = Field(
        None, description="the same in a file: a JSON map, or a table whose first two columns are label and name"
    )


class Join(Strict):
    """A second table, joined to the lines of the first by id. Columns that both have keep the first table's cell."""

    file: str = Field(description="the table, or a JSON map (its columns are `key` and `value`), below input/<comp>")
    left: str = Field(description="the column or template of the first table")
    right: str = Field(description="the column of this table that it must equal")
    separator: Separator = Field(",", description="what separates the cells")
    encoding: Encoding = Field("utf-8", description="how its text is written, such as cp1252 or utf-16")
    optional: bool = Field(False, description="lines without a partner stay, with empty cells; else they are an error")


class Pixels(Strict):
    """Pictures that stand as numbers in the cells of a table or JSON. They are written once as picture files."""

    columns: list[str] = Field(
        description="a channel each, all its numbers in one cell; or one name ending in `*`: a column for each number"
    )
    height_width: tuple[Side, Side] = Field(description="[height, width] of the picture in px, row by row")
    channels: int = Field(
        1, ge=1, le=1024, description="channels inside one cell or `*` column, the last index of a pixel"
    )
    separator: Separator = Field(" ", description="what separates the numbers of a cell; JSON lists need none")
    range: Ends | None = Field(
        None, description="the numbers that become 0 and 255, for floats; absent: the numbers are 0 to 255 already"
    )


class RowFacts(Strict):
    """How a raw layout becomes rows. A template such as `train/{id}.png` may use any column of the table.

    In a template `{id.stem}` is a path's file name without extension, `{id.name}` with it, `{id.parent}` its folder,
    `{id:05d}` a zero-padded whole number. In a pattern `{label}/{stem}.png` each `{...}` becomes a column, `*` is
    anything inside one name, `**` any number of folders, and a name that stands twice must be equal in both places.
    """

    reader: str = Field("csv", description="the reader: csv, folders ...; an unknown name lists the known ones")
    file: str | list[str] | None = Field(
        None,
        description="the table (or folder) below input/<comp>; `*` (any characters) or a list reads several, one after "
        "the other",
    )
    separator: Separator = Field(
        ",", description="what separates the cells, exactly these characters; `whitespace` for runs of blanks"
    )
    encoding: Encoding = Field("utf-8", description="how the text of tables is written, such as cp1252 or utf-16")
    columns: list[str] | None = Field(None, description="the columns' names where the file has no header line")
    pattern: str | None = Field(
        None,
        description="reader folders: the pattern of the pictures' paths; default `**/{label}/{stem}.{ext}`, and "
        "`**/{stem}.{ext}` for rows without a target",
    )
    labels: str | None = Field(
        None,
        description="reader arrays: the array of the labels (IDX, .npy or `file.npz:name`); `file` is the pictures'",
    )
    function: str | None = Field(
        None, description="reader python: `file.py:name` beside this file, or `module:name`; (Path) -> DataFrame"
    )
    pixels: Pixels | None = Field(None, description="pictures inside the cells")
    encoded: str | None = Field(None, description="the column of a Parquet table that holds whole jpg or png files")
    extract: dict[str, str] = Field(
        default_factory=dict, description="column: pattern; makes new columns of the parts of a column's cells"
    )
    join: list[Join] = Field(default_factory=list, description="further tables, joined by id")
    where: dict[str, str | list[str]] = Field(
        default_factory=dict, description="column: cell or cells; only these lines are rows"
    )
    without: dict[str, str | list[str]] = Field(
        default_factory=dict, description="column: cell or cells; these lines are no rows"
    )
    row_id: str | None = Field(
        None,
        description="a column or a template; `line` counts a table's lines from 1; default: the image's path",
    )
    repeated: Literal["stop", "first", "set"] = Field(
        "stop", description="several lines with one row_id: an error, the first counts, or their labels make a set"
    )
    image: str | list[str] | None = Field(
        None,
        description="a column or a template of the image's path below input/<comp>; several are stacked as channels. "
        "The extension may be missing; `**/` searches all folders below",
    )
    missing_images: Literal["stop", "drop"] = Field(
        "stop", description="a row without its image file: an error, or the row is left out and reported"
    )
    missing_targets: Literal["stop", "drop"] = Field(
        "stop",
        description="a row that lacks its label, or one of its numbers: an error, or the row is left out and reported",
    )
    target: str | Target | None = Field(
        None,
        description="the label: a column or template, or how to make it. For test rows only where their labels are "
        "public: no stage but `make score` reads them",
    )
    group: str | None = Field(None, description="a column or a template; rows of one group share a fold")
    entity: str | None = Field(None, description="a column or a template: what one line of the submission is about")
    order: str | None = Field(
        None, description="a column or a template: the place of a picture among its entity's, as a slice's number"
    )
    mask: str | None = Field(
        None,
        description="a column or a template: the file of what is to be found in a row's picture, for `loss.masks` of a "
        "run: one channel, of the picture's size, the object above 127, or above 0 where nothing is above 127. An "
        "empty cell, or a template's file that is not there: the row has none",
    )
    metadata: list[str] = Field(default_factory=list, description="columns that ride along")


class Holdout(Strict):
    """Training rows that become the test rows of a competition that has none."""

    fraction: float = Field(gt=0, lt=1, description="the share of the rows")
    seed: Seed = Field(0, description="the seed of the draw")
    stratify: list[str] = Field(
        default_factory=lambda: ["target"], description="columns whose joint distribution the draw keeps"
    )


class FoldFacts(Strict):
    """How the training rows are split."""

    k: int = Field(5, ge=2, le=1000, description="the number of folds")
    seed: Seed = Field(0, description="the seed of the split")
    splitter: str = Field(
        "auto",
        description="plain, stratified, grouped, stratified_grouped, column; open_set: some classes are in one fold "
        "alone, new to its networks; auto: by the task and the groups",
    )
    unseen: float = Field(0.2, gt=0, lt=1, description="open_set: the share of the classes that lie in one fold alone")
    new_class: str = Field(
        "", description="the class of what no training row shows: rows whose class no other fold has are scored as it"
    )
    stratify: list[str] = Field(
        default_factory=lambda: ["target"], description="columns whose joint distribution each fold keeps"
    )
    column: str | None = Field(None, description="an existing fold column (splitter: column), kept by `metadata`")
    group_duplicates: bool = Field(
        False, description="rows whose images look the same (perceptual hash) share a fold, as a group does"
    )
    allow_missing_class: bool = Field(
        False, description="accept a fold that lacks a class although the class has rows enough for every fold"
    )


class Submission(Strict):
    """What the grader accepts. The sample file is the truth; what stands here helps to read it."""

    sample: str | None = Field(
        None, description="the sample submission, below input/<comp>; not needed with a holdout or `test.target`"
    )
    kind: str = Field(
        "auto",
        description="probability, probabilities, label, label_score, labels, ranked, value, values, targets, long; "
        "auto: by the sample and the task",
    )
    extract: dict[str, str] = Field(
        default_factory=dict, description="column of the sample: pattern; makes columns of the parts of its cells"
    )
    join: list[Join] = Field(default_factory=list, description="tables joined to the sample's lines by id")
    where: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="column: cell or cells; only these lines of the sample are answered and written",
    )
    entity: str | None = Field(
        None,
        description="a column or a template of the sample: which row or entity a line is about; default: its id",
    )
    output: str | None = Field(
        None,
        description="kind long: a column or a template of the sample: the output that a line asks for; "
        "default: found in the ids, `<entity>_<output>` and alike, or in a second column of ids",
    )
    separator: Separator = Field(" ", description="what separates the labels of one cell")
    top_k: int = Field(5, ge=1, le=100_000, description="how many labels a ranked cell holds")
    bounds: Annotated[tuple[Open, Open], AfterValidator(ascending)] | None = Field(
        None, description="the smallest and the largest value accepted"
    )
    row_sum: float | None = Field(
        None, description="what the numbers of each row must add up to; 1 for log loss over classes"
    )
    aggregate: Literal["mean", "max", "noisy_or"] = Field(
        "mean", description="how the rows of an entity become one line"
    )

    @property
    def tells_lines(self) -> bool:
        """Whether the facts say what the sample's lines are about, or which of them count."""
        return bool(self.extract or self.join or self.where or self.entity or self.output)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.output is not None and self.entity is None:
            raise ValueError("'output' needs 'entity': what each line of the sample is about, beside its output")
        if self.output is not None and self.kind not in ("auto", "long"):
            raise ValueError("'output' is for kind long: a line for each entity and output")
        return self


class Competition(Strict):
    """One problem: its files, labels, metric and submission format."""

    title: str = Field("", description="what the problem is")
    url: str = Field("", description="where it is described")
    licence: str = Field("", description="the licence of the images")
    source: Source
    task: TaskField = Field(
        description="binary, multiclass, multilabel, ordinal, regression, soft; or several targets, as target: task"
    )
    classes: list[str] | None = Field(
        None,
        description="the ordered class names; the last is the positive one of a binary task. "
        "Default: found in the labels, sorted. Of several targets `<target>=<class>`, of those whose order matters",
    )
    metric: str = Field(
        description="the competition's metric; it ranks runs and selects epochs. A name, or a function of your own: "
        "`file.py:name` beside this file or in the project folder, or `module:name`"
    )
    metrics: list[str] = Field(default_factory=list, description="further metrics to report, named alike")
    unconfirmed: list[str] = Field(
        default_factory=list,
        description="settings that a starter file guessed; delete this line when you have confirmed them",
    )
    train: RowFacts
    test: RowFacts | None = Field(None, description="how the test rows are read; absent with a holdout")
    holdout: Holdout | None = None
    hidden_rows: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="pictures of a code competition's hidden test set, by its page; `make kernel` forecasts with it",
    )
    folds: FoldFacts = Field(default_factory=FoldFacts)
    submission: Submission = Field(default_factory=Submission)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.test is None) == (self.holdout is None):
            raise ValueError("give either 'test' (how test rows are read) or 'holdout' (a share of the training rows)")
        if self.test is not None and self.test.mask is not None:
            raise ValueError("masks are learnt, and test rows are not: leave 'test.mask' out")
        if self.train.target is None and not self.task.targets:
            raise ValueError("setting 'train.target' is missing")
        if self.task.two_classes and self.classes is not None and len(self.classes) != 2:
            raise ValueError("a binary task has two classes: the negative, then the positive one")
        kind = self.submission.kind
        if kind not in ("auto", "long") and bool(self.task.targets) != (kind == "targets"):
            raise ValueError("several targets have a submission of kind targets or long, and no other task has targets")
        if self.makes_sample and self.submission.tells_lines:
            raise ValueError("'submission' says how to read a sample, and there is none: foldline writes it itself")
        if self.folds.splitter != "open_set" and "unseen" in self.folds.model_fields_set:
            raise ValueError("'folds.unseen' is for splitter 'open_set'")
        if (self.folds.new_class or self.folds.splitter == "open_set") and self.task.labels != "class":
            raise ValueError("'folds.new_class' and splitter 'open_set' are for rows of one class each")
        if self.folds.splitter == "column" and self.folds.column is None:
            raise ValueError("splitter 'column' needs 'folds.column'")
        return self

    @property
    def has_solution(self) -> bool:
        """Whether the test rows' labels are known here: of a holdout, or of an official test set."""
        return self.holdout is not None or (self.test is not None and self.test.target is not None)

    @property
    def makes_sample(self) -> bool:
        """Whether foldline writes the sample submission itself, since the competition has none."""
        return self.holdout is not None or (self.has_solution and self.submission.sample is None)


def load_competition(layout: Layout, comp: str) -> Competition:
    """The facts of `comp`; raises FoldlineError that lists the known competitions."""
    path = layout.competition_config(comp)
    if not path.is_file():
        comes = (shipped() / comp / "competition.yaml").is_file()
        own = "or write this file (docs/add-a-competition.md)"
        more = f"its facts come with foldline: make download COMP={comp}" if comes else own
        raise unknown("competition", comp, layout.known_comps(), where=layout.relative(path), more=more)
    facts = Competition.parse(load_yaml(path), where=layout.relative(path))
    further = [locate(layout, comp, name) for name in facts.metrics]
    return facts.model_copy(update={"metric": locate(layout, comp, facts.metric), "metrics": further})

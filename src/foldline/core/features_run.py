"""The choices of a run of frozen features, read from a run file that has the key `features`. No network is trained.

Reads and writes nothing; which of the two kinds a run file is, `run_kinds` says.
"""

from collections import Counter
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from foldline.core.choices import Weights
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.options import MANY, Choice, Option
from foldline.core.run import Model, without_owner
from foldline.core.run_data import Data
from foldline.core.tables import sha256_json
from foldline.core.yaml_models import Seed, Strict

UNUSED = (
    "grow_from",
    "original",
    "workers",
)  # of `data`: for a network that is trained; with frozen features they do nothing
_CHOSEN = "; 0: chosen on training rows"


class FrozenModel(Strict):
    """A network that is not trained: what of `core.run.Model` means something for it."""

    name: str = Field("resnet18", description="any timm model, or a network of your own: `file.py:name`")
    weights: Weights = Field(default_factory=Weights)
    pool: Literal["default", "avg", "max", "avgmax", "gem"] = Field(
        "default", description="how a feature map becomes one vector; default: as the network was made"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of this network in timm")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights.name == "run":
            raise ValueError("features of another run's networks: set `run: <name>` beside, and leave model out")
        without_owner(self.name)
        return self

    @property
    def trained(self) -> Model:
        """The same as a run of networks has it."""
        return Model(name=self.name, weights=self.weights, pool=self.pool, options=self.options)


class Source(Strict):
    """What one network sees in the pictures."""

    run: str = Field(
        "",
        description="a run of this competition: the rows of fold k as its network k sees them; then `model` and `data` "
        "are that run's",
    )
    model: FrozenModel = Field(default_factory=FrozenModel)
    data: Data = Field(default_factory=Data)
    views: list[str] = Field(
        default_factory=lambda: ["identity"],
        min_length=1,
        description="views of each picture: rows of their own for linear and lightgbm; svm and knn see their mean",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.run and self.model_fields_set & {"model", "data"}:
            raise ValueError("a run has its own model and data: leave them out")
        odd = [key for key in UNUSED if getattr(self.data, key) != getattr(Data(), key)]
        if odd:
            raise ValueError(f"data.{odd[0]} is for a network that is trained: leave it out")
        return self

    @model_serializer(mode="wrap")
    def _as_read(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of a run without `model` and `data`, which it may not have where it is read again."""
        found: dict[str, Any] = handler(self)
        return {key: value for key, value in found.items() if not self.run or key not in ("model", "data")}

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.run or self.model.name


class FeaturesHead(Choice):
    """What is fitted on the features."""

    what = "head"
    known: ClassVar = {
        "linear": {"c": Option(0.0, 0, 1e9, f"inverse strength of the L2 penalty{_CHOSEN}")},
        "svm": {"c": Option(0.0, 0, 1e9, f"what an error costs{_CHOSEN}")},
        "knn": {
            "k": Option(0, 0, MANY, f"neighbours{_CHOSEN}"),
            "temperature": Option(0.0, 0, 100, f"how much less a farther neighbour counts{_CHOSEN}"),
            "threshold": Option(0.0, 0, 1, f"nearest cosine below which `folds.new_class` is likelier{_CHOSEN}"),
            "expand": Option(0, 0, 1000, "query expansion: so many neighbours are added to a query; 0: none"),
            "rerank": Option(0, 0, 1000, "k-reciprocal re-ranking among so many neighbours (20 is usual); 0: none"),
        },
        "lightgbm": {
            "leaves": Option(0, 0, 1024, f"leaves a tree{_CHOSEN}"),
            "trees": Option(0, 0, 10_000, f"trees{_CHOSEN}"),
            "rate": Option(0.05, 1e-4, 1, "the learning rate"),
        },
    }

    name: str = Field(
        "linear",
        description="linear: logistic regression, of numbers ridge; svm: with an RBF kernel, its answers calibrated; "
        "knn: neighbours by cosine; lightgbm: boosted trees (needs the extra lightgbm)",
    )


class Columns(Strict):
    """What the head sees beside the features."""

    metadata: list[str] = Field(default_factory=list, description="columns of `train.metadata`")
    runs: list[str] = Field(
        default_factory=list, description="runs whose out-of-fold predictions are columns (stacking)"
    )


class FeaturesRun(Strict):
    """A head on frozen features, fitted fold by fold. All folds are one command, so its hash is of the run."""

    features: list[Source] = Field(..., description="the networks whose features are put side by side; [] for none")
    head: FeaturesHead = Field(default_factory=FeaturesHead)
    columns: Columns = Field(default_factory=Columns)
    metrics: list[str] = Field(
        default_factory=list, description="metrics to report beside the competition's, as a run of networks has them"
    )
    seed: Seed = Field(0, description="the seed of what is random in fitting, and of networks with random weights")

    @field_validator("features", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        """A single source needs no list."""
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.features or self.columns.metadata or self.columns.runs):
            raise ValueError("the head sees nothing: name features, or columns")
        named = {"columns.metadata": self.columns.metadata, "columns.runs": self.columns.runs}
        named |= {f"features.{place}.views": source.views for place, source in enumerate(self.features)}
        for key, names in named.items():
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{key} names '{twice[0]}' twice")
        if any(source in self.features[:place] for place, source in enumerate(self.features)):
            raise ValueError("features has the same source twice")
        return self

    def refuse_itself(self, name: str, *, where: str) -> None:
        """Raises FoldlineError where the run of this name stands on its own predictions or networks."""
        if name in (*self.columns.runs, *(source.run for source in self.features)):
            raise FoldlineError(
                f"the run '{name}' names itself", where=where, next="name another run, or add NAME=<new name>"
            )

    def choices(self) -> dict[str, Any]:
        """All choices as a JSON value, defaults included: what is written to the run's folder."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """The hash of what the fitted heads depend on; defaults are left out."""
        return sha256_json(self.model_dump(mode="json", exclude={"metrics"}, exclude_defaults=True))

    @property
    def title(self) -> str:
        """The head and what it sees, in words."""
        seen = [source.title for source in self.features]
        seen += [counted(len(self.columns.metadata), "metadata columns")] if self.columns.metadata else []
        return f"{self.head.name} on {', '.join([*seen, *(f'OOF of {run}' for run in self.columns.runs)])}"

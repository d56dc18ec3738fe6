"""Where the raw files of a competition come from: a part of its facts."""

from pydantic import Field

from foldline.core.yaml_models import Strict


class Source(Strict):
    """Where the raw files come from."""

    kind: str = Field(
        description="the source: pypi, npm, debian, folder, kaggle, kaggle_dataset, huggingface, torchvision, placed; "
        "an unknown name lists the known ones"
    )
    name: str = Field(
        "", description="the package, competition slug, owner/dataset, dataset class; or the local folder or archive"
    )
    version: str = Field("", description="the version of a package or Kaggle dataset, a Hugging Face revision")
    sha256: str = Field("", description="the expected sha256 of the downloaded file")
    keep: list[str] = Field(
        default_factory=list, description="folders or files to keep; empty: all. A folder's files lose this prefix"
    )
    unpack: bool = Field(True, description="whether archives inside the download are unpacked too, and then removed")
    otherwise: "Source | None" = Field(
        None, description="another source of the same files, tried when the first cannot be reached; has all settings"
    )

    def alternatives(self) -> "list[Source]":
        """This source, then those of `otherwise`, each standing alone."""
        rest = [] if self.otherwise is None else self.otherwise.alternatives()
        return [self.model_copy(update={"otherwise": None}), *rest]

"""A data set that torchvision can download (CIFAR10, MNIST, Flowers102 ...): its raw files, not its tensors."""

import inspect
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from foldline.core.errors import FoldlineError, unknown
from foldline.core.progress import say
from foldline.core.source_facts import Source
from foldline.core.tables import scratch_folder
from foldline.sources.archives import is_archive
from foldline.sources.placing import keep_only
from foldline.sources.tools import UnreachableError, last_line


def fetch_torchvision(source: Source, destination: Path) -> None:
    """Lets torchvision download and unpack the data set class `source.name`; its archives are removed.

    torchvision checks the files by their md5. Data sets that must be downloaded by hand (ImageNet) are refused by it.
    """
    import torchvision.datasets as known

    names = [name for name in known.__all__ if "download" in inspect.signature(getattr(known, name)).parameters]
    if source.name not in names:
        raise unknown("torchvision data set", source.name, names, where="source.name")
    say(f"downloading the data set {source.name} with torchvision")
    try:
        with scratch_folder(destination.parent, "raw") as raw:
            _download(getattr(known, source.name), raw)
            for path in [path for path in raw.rglob("*") if path.is_file() and _is_packed(path)]:
                path.unlink()
            keep_only(raw, source.keep, destination)
    except (URLError, ConnectionError, TimeoutError, HTTPException, RuntimeError, zipfile.BadZipFile) as error:
        if not isinstance(error, RuntimeError | zipfile.BadZipFile) or str(error).startswith("Error downloading"):
            raise UnreachableError(
                f"torchvision cannot reach the servers of {source.name}",
                where=f"source {source.name}: {last_line(str(error))}",
                next="check the network and run the command again",
            ) from error
        raise FoldlineError(
            f"torchvision could not download it: {error}",
            where=f"source {source.name}",
            next="run the command again, it begins anew",
        ) from error


def _is_packed(path: Path) -> bool:
    """Whether a file is an archive, or a `.gz` that lies beside what it held."""
    return is_archive(path) or (path.suffix == ".gz" and path.with_suffix("").is_file())


def _download(dataset: type, root: Path) -> None:
    """Asks for each part of a data set that comes in parts (`train`, or `split`)."""
    parameters = inspect.signature(dataset).parameters
    if "train" in parameters:
        parts: list[dict[str, object]] = [{"train": True}, {"train": False}]
    elif "split" in parameters:
        parts = [{"split": "train"}, {"split": "test"}]
    else:
        parts = [{}]
    for part in parts:
        dataset(root=str(root), download=True, **part)

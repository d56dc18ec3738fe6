"""A data set of the Hugging Face hub: all files of its repository, as they lie there (Parquet, archives, pictures)."""

import errno
import re
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.source_facts import Source
from foldline.core.tables import scratch_folder
from foldline.sources.placing import keep_only, link_all, parking, unpack_nested
from foldline.sources.tools import UnreachableError, last_line


def fetch_huggingface(source: Source, destination: Path) -> None:
    """Downloads the data set `source.name` (owner/name) at revision `source.version`.

    Only what `source.keep` names is downloaded. A broken download goes on where it stopped. `HF_TOKEN` and `HF_HOME`
    apply. timm brings the client, so no extra is needed.
    """
    if not re.fullmatch(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", source.name):
        raise FoldlineError(
            f"'{source.name}' is no Hugging Face data set",
            where="source.name",
            next="write owner/name, as in its address",
        )
    say(f"downloading the data set {source.name} from Hugging Face")
    parked = parking(destination)
    _download(source, parked)
    with scratch_folder(destination.parent, "raw") as raw:
        link_all(parked, raw)  # what was downloaded stays as it is until all is in its place
        if source.unpack:
            unpack_nested(raw)
        keep_only(raw, source.keep, destination)


def _download(source: Source, folder: Path) -> None:
    """Fetches the repository's files, or says in words why the hub did not give them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/datasets/{source.name}"
    try:
        snapshot_download(
            source.name,
            repo_type="dataset",
            revision=source.version or None,
            local_dir=folder,
            allow_patterns=[part for name in source.keep for part in (name, f"{name}/*")] or None,
        )
    except GatedRepoError as error:
        raise FoldlineError(
            "the data set is gated", where=page, next="accept its terms there, set HF_TOKEN and run the command again"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FoldlineError(
            "no such data set or revision", where=page, next="correct source.name or version"
        ) from error
    except Exception as error:
        broken = isinstance(error, OSError) and error.errno in (None, errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE)
        of_client = type(error).__module__.startswith(("httpx", "requests"))  # which of them depends on its version
        if not (broken or of_client or isinstance(error, LocalEntryNotFoundError | HfHubHTTPError)):
            raise
        raise UnreachableError(
            f"the hub cannot be reached or refuses: {last_line(str(error))}",
            where=page,
            next="check the network and run the command again; a download goes on where it stopped",
        ) from error

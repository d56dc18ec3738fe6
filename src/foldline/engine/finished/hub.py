"""An exported folder goes to the Hugging Face hub, by its own client. Reads the folder; sends it."""

import re
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.sources.tools import last_line


def push_folder(folder: Path, name: str) -> str:
    """Uploads the folder as one commit; the repository is made, private, where it is not there. Its address.

    `HF_TOKEN` (or `hf auth login`) says who you are. timm brings the client, so no extra is needed.

    Raises:
        FoldlineError: the name is no `owner/name`, the hub cannot be reached, or it refuses.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise FoldlineError(f"'{name}' is no repository of a hub", where="--push", next="write owner/name")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    say(f"uploading {folder.name} to {name}; a repository that is not there yet is made private")
    try:
        client = HfApi()
        client.create_repo(name, private=True, exist_ok=True)
        return str(client.upload_folder(repo_id=name, folder_path=folder, commit_message=f"foldline: {folder.name}"))
    except LocalTokenNotFoundError as error:
        raise FoldlineError(
            "the hub does not know who you are", where="--push", next="set HF_TOKEN, or log in: hf auth login"
        ) from error
    except OfflineModeIsEnabled as error:
        raise FoldlineError("HF_HUB_OFFLINE forbids it", where="--push", next="unset HF_HUB_OFFLINE") from error
    except Exception as error:
        of_client = type(error).__module__.startswith(("httpx", "requests"))  # which of them depends on its version
        if not (of_client or isinstance(error, HfHubHTTPError | OSError)):
            raise
        raise FoldlineError(
            f"the hub cannot be reached or refuses: {last_line(str(error))}",
            where=f"--push {name}",
            next="check HF_TOKEN (it must be allowed to write there) and the network; the folder is written, so push "
            f"it again, or by the hub's own client: hf upload {name} {folder}",
        ) from error

"""The hub that timm's weights come from, asked once: its client alone asks a hub that is away twelve times, aloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR


@contextmanager
def asked_once() -> Iterator[None]:
    """Where the hub does not answer, its client takes in this block what lies in its cache, or fails at once.

    Raises:
        OSError: the hub is away, and the cache has not what the block asks for.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    before, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    away = "HF_HUB_OFFLINE is set" if before else "" if _answers(constants.ENDPOINT) else "the hub cannot be reached"
    logging.set_verbosity(ERROR)
    constants.HF_HUB_OFFLINE = bool(away)
    try:
        yield
    except OSError as error:
        if not away:
            raise
        raise OSError(f"{away} ({constants.ENDPOINT}), and its cache {constants.HF_HUB_CACHE} has none") from error
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.set_verbosity(verbosity)


def _answers(address: str) -> bool:
    """Whether a server answers within ten seconds, whatever it says."""
    from huggingface_hub import get_session

    try:
        get_session().head(address, timeout=10)
    except Exception:  # the client's library, and so its errors, change with its version
        return False
    return True

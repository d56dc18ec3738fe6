"""A driver's way into a cluster: Ray is found, quietened and asked which machines there are."""

import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from foldline.core.errors import FoldlineError
from foldline.core.progress import say

KNOCK_SECONDS = 10.0  # in which a head must answer
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}  # it shall not call home


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster.

    Args:
        address: `auto`: the one that this machine belongs to; `local`: one of this machine alone, for the time of the
            block; else a head's address, `ray://host:10001` from outside or `host:6379` on one of its machines.

    Raises:
        FoldlineError: Ray is not installed, or nobody answers there.
    """
    ray = _imported()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, and those of what it imports
            _knock(address)
            ray.init(
                address, include_dashboard=False if address == "local" else None,
                log_to_driver=False, logging_level=logging.ERROR, configure_logging=True,
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        with suppress(Exception):
            ray.shutdown()
        raise FoldlineError(
            f"no cluster answers: {(str(error) or type(error).__name__).splitlines()[0][:300]}",
            where=f"--address {address}",
            next="start one (`ray start --head` there, `ray start --address=<head>:6379` on the others), or name "
            "another; --address local takes this machine alone",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
    _quieten()
    try:
        yield ray
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at a head's address: Ray itself tries for minutes."""
    head = urlsplit(address if "://" in address else f"//{address}")
    if head.hostname and head.port:
        socket.create_connection((head.hostname, head.port), timeout=KNOCK_SECONDS).close()


def _quieten() -> None:
    """Of what Ray prints by itself (a machine that is lost: thirty lines of its log) the first sentence is said."""
    from ray._private import worker

    def first_sentence(data: dict[str, Any], **_: Any) -> None:
        words = " ".join(str(line) for line in data.get("lines", [])).strip()
        say(f"Ray says: {words.partition('. ')[0][:200]}")

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = first_sentence


def machines_of(ray: Any) -> list[dict[str, float]]:
    """The resources of each machine that is there now, as Ray names them."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _imported() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise FoldlineError(
            "Ray is not installed", where="--on ray", next=".venv/bin/python -m pip install 'foldline[ray]'"
        ) from error
    return ray

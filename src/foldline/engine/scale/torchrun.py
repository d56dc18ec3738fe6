"""torch's own launcher as a child process of `launch`: it says what ended the ranks in a file, and nothing else.

It ends them politely where it gets SIGTERM, or where the process that started it is gone (its standard input ends).
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

PATIENCE = "600"  # seconds for a step, a validation and a resume point, before a rank that was asked to end is killed


def main(words: list[str]) -> int:
    """Starts the ranks and waits for them; returns the exit code.

    Args:
        words: the file for what ended them, then what `torchrun` takes.
    """
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", PATIENCE)  # torch before 2.14 waits for 30 seconds
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # `launch` says what happened
    try:
        run.run(run.parse_args(words[1:]))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        failures = [_as_json(rank, failure) for rank, failure in error.failures.items()]
        Path(words[0]).write_text(json.dumps(failures), encoding="utf-8")
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _as_json(rank: int, failure: Any) -> dict[str, Any]:
    """A rank, its exit code, and what it said of it (`core.rank`); none where it was killed."""
    return {"rank": rank, "exit_code": failure.exitcode, "told": failure.error_file_data.get("foldline")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

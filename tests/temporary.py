"""A folder for what tests, and the processes that they start, put among temporary files; it goes when the tests end.

Of a process that is killed nobody else removes it: timm imports W&B where that is installed, which makes two folders.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "foldline-tests-"

# A browser's socket in a folder within a folder has more letters than the system takes.
if Path(tempfile.gettempdir()).name.startswith(PREFIX):
    TEMPORARY = tempfile.gettempdir()  # of whoever started this process
else:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest's own folders stay, to be looked at
    TEMPORARY = tempfile.tempdir = tempfile.mkdtemp(prefix=PREFIX)
    atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)  # registered first, so last: libraries tidy up in it

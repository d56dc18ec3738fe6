"""A folder for what tests, and the processes that they start, put among temporary files; it goes when the tests end.

Of a process that is killed nobody else removes it: timm imports W&B where that is installed, which makes two folders.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest's own folders stay, to be looked at
TEMPORARY = tempfile.tempdir = tempfile.mkdtemp(prefix="foldline-tests-")
atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)  # registered first, so last: libraries tidy up in it

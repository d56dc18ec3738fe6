"""Floor 2: rows' pictures become tensors: decode once, cache, augment, batch, view."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask a server for the newest version

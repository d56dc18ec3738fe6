"""Floor 2: rows' pictures become tensors: decode once, cache, augment, batch, view."""

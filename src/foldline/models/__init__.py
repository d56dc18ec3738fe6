"""Floor 3: networks, their pretrained weights, and the probe."""

"""The machine that computes: devices and number formats."""

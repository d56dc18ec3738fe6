"""Blends that are fitted to OOF predictions: one class a way, one entry in `catalogue.FITTED`."""

"""Floor 2: metrics, intervals, blends, decisions. Arrays and tables in and out. No torch."""

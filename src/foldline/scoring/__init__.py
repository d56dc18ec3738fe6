"""Floor 2: metrics, intervals, blends, decisions, submissions. Arrays and tables in and out. No torch."""

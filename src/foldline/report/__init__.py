"""Floor 3: a run folder becomes one HTML page that a person reads. `run.page.build_report` is the way in."""

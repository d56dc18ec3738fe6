"""Floor 3: a run folder becomes one HTML page that a person reads. `build.build_report` is the way in."""

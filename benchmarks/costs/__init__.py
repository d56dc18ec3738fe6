"""What each stage costs, by the number of rows: one file a stage, with COST, prepare and run; see kit.py."""

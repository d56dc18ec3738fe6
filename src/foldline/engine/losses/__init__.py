"""What training minimises and how logits become predictions; a new loss is a function here and a line in LOSSES."""

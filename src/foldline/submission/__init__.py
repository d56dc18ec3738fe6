"""What a grader is handed: the sample, the writer, the gate, and the way back."""

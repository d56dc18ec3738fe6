"""Finished networks as one ONNX graph, from uint8 pictures to predictions, compared with torch before it is written."""

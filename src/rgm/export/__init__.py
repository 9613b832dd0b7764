"""Models for other programs: ONNX, the Hugging Face Hub, pymdp, NumPy."""

"""Export of models: ONNX, the Hugging Face Hub, pymdp, NumPy."""

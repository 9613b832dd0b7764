"""Files and tensors on disk; nothing here knows a model."""

"""Files and tensors on disk, independent of any model class."""

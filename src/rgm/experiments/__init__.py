"""The three experiments: a model and images in, a frozen result out."""

"""Every measure of a model, once: a model and images in, a frozen result out."""

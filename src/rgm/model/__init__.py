"""What a model answers (RGM), SpatialRGM and the parts of a level: recognition, prior, decoder; their configuration."""

"""The interface of models (RGM), SpatialRGM, the parts of a level (recognition, prior, decoder), configuration."""

"""The interactive page: draw an image, see its codes, change a cell, sample a concept; served on this machine only."""

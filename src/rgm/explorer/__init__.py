"""The interactive page: draw, read, change a cell, let a concept speak; served to this machine alone."""

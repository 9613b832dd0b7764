"""Models of films: states and paths over space and time."""

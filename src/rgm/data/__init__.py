"""Data sets: named sets, IDX files, image folders, the embedded digits."""

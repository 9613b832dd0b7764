"""Where images come from: named sets, IDX files, image folders, the embedded digits."""

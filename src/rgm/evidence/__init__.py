"""Numbers with intervals: the bound, calibration, rates; later the verdict on each claim."""

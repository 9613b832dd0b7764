"""Numbers with intervals: the bound, calibration, rates, the quality of samples; later the verdict on each claim."""

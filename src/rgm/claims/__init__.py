"""The three claims as hypotheses: thresholds, verdicts, controls, comparison."""

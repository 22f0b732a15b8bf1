"""Tables, figures, verdicts and comparisons, from the trials' folders."""

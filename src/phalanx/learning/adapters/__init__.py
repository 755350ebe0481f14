"""What users already train, as a `Model`, a file for each kind. A file imports its framework; this one imports none."""

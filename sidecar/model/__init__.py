"""Words and rules: frozen data and pure functions, without I/O and without a clock."""

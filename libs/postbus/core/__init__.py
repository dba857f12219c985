"""Values, identifiers, errors, clock and address rules: pure, imported by everything, importing nothing."""

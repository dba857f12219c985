"""The administrator's spam rules: a subset of SpamAssassin's rule language, compiled and run within bounds."""

"""Labels carried across a translation."""

"""What a labelled example is, and how it is read and written."""

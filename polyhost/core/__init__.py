"""What a print server is about, as values and rules.  Knows nothing of networks, files or time."""

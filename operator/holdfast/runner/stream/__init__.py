"""What an artifact's bytes go through between the source and the destinations."""

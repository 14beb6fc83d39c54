"""The kinds of destinations, as both planes see them."""

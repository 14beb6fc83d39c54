"""Services: each reconciles one kind of key by reading, deciding and writing."""

"""The Memcached engine."""

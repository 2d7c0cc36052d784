"""cache-proxy: a read-through HTTP cache, on Redis, for the GETs of users and orders."""

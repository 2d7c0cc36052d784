"""worker: fulfils placed orders, jobs taken off a Redis stream, each exactly once by its key."""

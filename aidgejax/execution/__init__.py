"""Running graphs: compiled programs (`make_program`), one-off calls (`run`), and the cache of what was compiled."""

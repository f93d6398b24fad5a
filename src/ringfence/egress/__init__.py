"""Network enforcement: the exchange without I/O, and a thin server."""

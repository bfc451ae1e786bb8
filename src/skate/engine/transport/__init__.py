"""How bytes travel between the engine's processes: packets on Unix sockets, descriptors, claim tokens."""

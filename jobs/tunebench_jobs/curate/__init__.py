"""A page on this machine, on which people read candidates and decide about them."""

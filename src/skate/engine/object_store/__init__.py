"""The object store: values as bytes (`serialization`), the arena they lie in, and the directory that counts, places and spills them."""

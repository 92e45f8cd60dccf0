"""Config classes: their fields, mappings to and from them, and the files they are read from."""

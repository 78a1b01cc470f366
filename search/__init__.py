"""How candidates are proposed, evaluated and kept; the only package that imports the other two."""

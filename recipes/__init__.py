"""Scripts that train weights. They are not part of the package."""

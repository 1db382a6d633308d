"""The encoders of the default suite `lite`, with their weights."""

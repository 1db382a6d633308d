"""The scripts that made the weights of the suite `lite`."""

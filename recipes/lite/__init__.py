"""The programs that trained and measured the weights of the suite `lite`."""

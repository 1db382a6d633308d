"""Training of ALAN: the models of the paper on features, and towers for any suite on captioned videos."""

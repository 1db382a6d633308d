"""Training ALAN and the shipped towers."""

"""Demo footage with events at known times, composed on the spot from media that installed packages carry."""

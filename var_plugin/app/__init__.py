"""The page for people who watch cameras."""

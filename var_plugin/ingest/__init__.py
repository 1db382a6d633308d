"""From video files to rows in an index, with a receipt."""

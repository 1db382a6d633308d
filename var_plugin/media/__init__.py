"""Media files: decoding of video, audio and images, and clips and thumbnails of them."""

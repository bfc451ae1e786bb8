"""Data in blocks: what pandas, streaming and training share."""

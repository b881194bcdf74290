"""The formats of collections, a file each."""

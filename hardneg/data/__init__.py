"""Collection formats: each module reads one of them behind `CollectionReader`."""

"""The `hardneg` command."""

"""One command-line module a rule: read files, call hardneg, write files."""

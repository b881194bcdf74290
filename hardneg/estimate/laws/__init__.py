"""What each kind of stage needs: one file a family, all listed in `table`."""

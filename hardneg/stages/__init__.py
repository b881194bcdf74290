"""What a stage is: its kind, its folder, its code, and what a running one needs."""

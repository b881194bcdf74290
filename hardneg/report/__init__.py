"""The report: its data (material), its tables and figures (items), the page, and files for papers."""

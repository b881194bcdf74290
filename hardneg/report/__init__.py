"""The report: what it is made from (material), its tables and figures (items), and the page and files they become."""

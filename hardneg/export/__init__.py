"""What leaves the workflow: a system's encoders, vectors and runs in the layouts that other tools load."""

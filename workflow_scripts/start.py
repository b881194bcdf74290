"""Start Snakemake. Imports leave no garbage, and to look for it takes a third of the start, so that waits."""

import gc


def main() -> None:
    """Be Snakemake."""
    gc.disable()
    from snakemake.cli import main as snakemake

    gc.freeze()
    gc.enable()
    snakemake()


if __name__ == "__main__":
    main()

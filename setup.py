"""What pyproject.toml cannot say: a wheel carries the workflow, which lies at the top of the repository."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
WORKFLOW = ("Snakefile", "rules/*.smk", "envs/*.yaml", "profiles/*/profile.yaml", "config*.yaml", "configs/*.*")


class BuildWithWorkflow(build_py):
    """Builds the packages, then lays the workflow into `hardneg/workflow/`, in the same layout."""

    def run(self) -> None:
        """Build. An editable installation needs no copy: the checkout is there."""
        super().run()
        if self.editable_mode:
            return
        for pattern in WORKFLOW:
            for file in sorted(ROOT.glob(pattern)):
                target = Path(self.build_lib, "hardneg", "workflow", file.relative_to(ROOT))
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithWorkflow})

